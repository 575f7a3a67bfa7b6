/** How a source arrives, as it is drawn and said. */
import type { Flow, PartitionShown } from './api.ts'
import { digits, duration, percent } from './format.ts'

const MINUTE_MS = 60_000
/** Ingest writes a heartbeat every half minute to a partition that gets nothing else. */
export const LATE_MS = 3 * MINUTE_MS

export interface Bar {
  /** Where its minutes begin (ms). */
  at: number
  events: number
  errors: number
}

/**
 * `count` bars of equal length, up to the last whole minute; minutes that are not listed brought nothing. What does not
 * fill a bar at the beginning is left out.
 */
export function bars(flow: Pick<Flow, 'since' | 'minutes'>, now: number, count: number): Bar[] {
  const end = Math.floor(now / MINUTE_MS)
  const minutes = Math.max(1, end - Date.parse(flow.since) / MINUTE_MS)
  const each = Math.max(1, Math.floor(minutes / count))
  const start = end - each * Math.floor(minutes / each)
  const found = Array.from({ length: (end - start) / each }, (_, place) => ({
    at: (start + place * each) * MINUTE_MS,
    events: 0,
    errors: 0,
  }))
  for (const { minute, events, errors } of flow.minutes) {
    const bar = found[Math.floor((Date.parse(minute) / MINUTE_MS - start) / each)]
    if (!bar) continue
    bar.events += events
    bar.errors += errors
  }
  return found
}

/** One sentence for those who do not see the bars. */
export function summary(drawn: Bar[], minutes: number): string {
  const total = drawn.reduce((sum, { events }) => sum + events, 0)
  const rates = drawn.map(({ events }) => events / minutes)
  return (
    `Events a minute over the last ${duration(drawn.length * minutes * MINUTE_MS)}: ` +
    `${digits(total)} in all, most ${digits(Math.max(0, ...rates))}, least ${digits(Math.min(...rates))}.`
  )
}

export interface Word {
  mark: 'good' | 'warning' | 'bad' | 'unknown'
  text: string
}

/** What came beside what was to be expected. */
export function rhythm({ rhythm: known, minutes }: Pick<Flow, 'rhythm' | 'minutes'>): Word {
  if (!known) return { mark: 'unknown', text: minutes.length ? 'rhythm not known yet' : 'nothing has arrived' }
  const { events, expected, low, minutes: length, quiet_minutes: quiet, allowed_minutes: allowed } = known
  if (allowed !== null && quiet > allowed) {
    return { mark: 'bad', text: `silent for ${quiet} min; its rhythm allows ${allowed}` }
  }
  if (expected === null || events === null || low === null || length === null) {
    return { mark: 'unknown', text: 'too irregular, or too new, to say what is usual' }
  }
  const said = `${digits(events)} events in ${length} min, where ${digits(expected)} are usual`
  return { mark: events < low ? 'bad' : events < 0.75 * expected ? 'warning' : 'good', text: said }
}

/** Whether the way through ingest and Kafka is whole. */
export function path({ heartbeat_at: at }: Pick<PartitionShown, 'heartbeat_at'>, now: number): Word {
  if (at === null) return { mark: 'unknown', text: 'never heard of' }
  const age = now - Date.parse(at)
  return age > LATE_MS
    ? { mark: 'bad', text: `nothing for ${duration(age)}` }
    : { mark: 'good', text: `alive ${duration(age)} ago` }
}

export function errors(share: number | null): Word {
  if (share === null) return { mark: 'unknown', text: 'nothing arrived' }
  const text = `${percent(share, share > 0 && share < 0.01 ? 2 : 1)} dead letters`
  return { mark: share > 0.05 ? 'bad' : share > 0 ? 'warning' : 'good', text }
}
