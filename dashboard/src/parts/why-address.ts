import type { ValueName } from '../api.ts'
import { route, withQuery } from '../router.ts'

/** The present screen with the explanation of one value open on it: a link that can be sent to others. */
export function whyAddress(value: ValueName): string {
  const name = [value.kpi, value.series_key, value.window_start, value.revision ?? ''].join('|')
  return withQuery({ why: name })
}

export function whyAsked(): ValueName | null {
  const [kpi, seriesKey, windowStart, revision] = route().query.get('why')?.split('|') ?? []
  if (!kpi || seriesKey === undefined || !windowStart) return null
  return { kpi, series_key: seriesKey, window_start: windowStart, revision: revision ? Number(revision) : null }
}
