import type { Annotation, Decision, KpiDetail, Signal, SignalItem } from '../api.ts'
import { cadence } from '../chart-data.ts'
import { figureText } from '../format.ts'
import type { ChartMarks } from '../parts/chart-marks.ts'

export interface Happenings {
  signals: (Signal | SignalItem)[]
  annotations: Annotation[]
  decisions: Decision[]
}

const seconds = (moment: string): number => Date.parse(moment) / 1000

/** What is drawn around the line of a KPI. A decision is drawn where the signal that it answers was, in event time. */
export function marksFor(
  kpi: Pick<KpiDetail, 'window' | 'signals' | 'unit'>,
  happenings: Happenings | undefined,
): ChartMarks {
  const windowSeconds = cadence(kpi.window) ?? kpi.window.length_seconds ?? 0
  const signals = happenings?.signals ?? []
  const ends = new Map(signals.map((each) => [each.id, seconds(each.last_window) + windowSeconds]))
  return {
    windowSeconds,
    signals: signals.map((each) => ({
      verdict: each.verdict,
      from: seconds(each.first_window),
      until: seconds(each.last_window) + windowSeconds,
      covers: (moment) => seconds(moment) >= seconds(each.first_window) && seconds(moment) <= seconds(each.last_window),
    })),
    annotations: (happenings?.annotations ?? []).map((each) => ({ at: seconds(each.at), text: each.text })),
    decisions: (happenings?.decisions ?? []).flatMap((each) => {
      const at = each.signal ? ends.get(each.signal) : undefined
      return at === undefined ? [] : [{ at, title: each.title }]
    }),
    thresholds: kpi.signals.flatMap(({ limits }) =>
      (['above', 'below'] as const).flatMap((side) => {
        const value: unknown = limits[side]
        return typeof value === 'number' ? [{ value, label: `${side} ${figureText(value, kpi.unit)}` }] : []
      }),
    ),
  }
}
