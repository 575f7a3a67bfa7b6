/** From observations to what the chart draws: gaps stay gaps, open windows are told from closed ones. */
import type { Expectation, Kpi, Observation } from './api.ts'

export interface ChartData {
  /** Window starts in seconds, with a point of nothing wherever windows are missing. */
  x: number[]
  final: (number | null)[]
  /** Open windows, and the closed one before each, so that the dashed line begins where the solid one ends. */
  open: (number | null)[]
  low: (number | null)[]
  middle: (number | null)[]
  high: (number | null)[]
  /** What each x stands for; null in a gap. */
  observations: (Observation | null)[]
  expectations: (Expectation | null)[]
}

const seconds = (moment: string): number => Date.parse(moment) / 1000

/** The distance between windows; sessions come when they come and have none. */
export function cadence(window: Kpi['window']): number | null {
  if (window.kind === 'session') return null
  return window.kind === 'sliding' ? (window.every_seconds ?? window.length_seconds) : window.length_seconds
}

export function chartData(observations: Observation[], expectations: Expectation[], step: number | null): ChartData {
  const sorted = newestRevisions(observations)
  const bands = new Map(expectations.map((each) => [Date.parse(each.window_start), each]))
  const data: ChartData = { x: [], final: [], open: [], low: [], middle: [], high: [], observations: [], expectations: [] }
  const push = (x: number, observation: Observation | null): void => {
    const band = observation ? (bands.get(x * 1000) ?? null) : null
    const value = observation?.value ?? null
    data.x.push(x)
    data.final.push(observation?.status === 'final' ? value : null)
    data.open.push(observation?.status === 'provisional' ? value : null)
    data.low.push(band?.low ?? null)
    data.middle.push(band?.middle ?? null)
    data.high.push(band?.high ?? null)
    data.observations.push(observation)
    data.expectations.push(band)
  }
  let before: number | null = null
  for (const observation of sorted) {
    const x = seconds(observation.window_start)
    if (step !== null && before !== null && x - before > step * 1.5) push(before + step, null)
    push(x, observation)
    before = x
  }
  data.open.forEach((value, index) => {
    const former = data.final[index - 1]
    if (value !== null && former !== null && former !== undefined && data.open[index - 1] === null) {
      data.open[index - 1] = former
    }
  })
  return data
}

/** One observation per window, oldest first; what was retracted is gone. */
export function newestRevisions(observations: Observation[]): Observation[] {
  const newest = new Map<number, Observation>()
  for (const observation of observations) {
    const at = Date.parse(observation.window_start)
    const present = newest.get(at)
    if (!present || observation.revision > present.revision) newest.set(at, observation)
  }
  return [...newest.entries()]
    .sort(([a], [b]) => a - b)
    .map(([, observation]) => observation)
    .filter((observation) => observation.status !== 'retracted')
}

/** What was expected, in words; empty where nothing was. A band may be open to one side. */
export function expectedText(band: Pick<Expectation, 'low' | 'high'> | null | undefined, text: (value: number | null) => string): string {
  if (!band || (band.low === null && band.high === null)) return ''
  if (band.low === null) return `at most ${text(band.high)}`
  if (band.high === null) return `at least ${text(band.low)}`
  return `${text(band.low)} to ${text(band.high)}`
}

/** One sentence for those who do not see the line. */
export function summary(data: ChartData, title: string, text: (value: number | null) => string): string {
  const known = data.observations.filter((each): each is Observation => each !== null)
  const values = known.map((each) => each.value).filter((value): value is number => value !== null)
  const last = known.at(-1)
  if (!last || !values.length) return `${title}: no values in this range.`
  const outside = data.observations.filter((each, index) => {
    const value = each?.value ?? null
    const { low = null, high = null } = data.expectations[index] ?? {}
    return value !== null && ((high !== null && value > high) || (low !== null && value < low))
  }).length
  return (
    `${title}: ${known.length} windows, lowest ${text(Math.min(...values))}, highest ${text(Math.max(...values))}, ` +
    `now ${text(last.value)} (${last.status}).` +
    (outside ? ` ${outside} outside the expected band.` : '')
  )
}
