import { describe, expect, it } from 'vitest'
import type { Expectation, Observation } from '../src/api.ts'
import { cadence, chartData, expectedText, newestRevisions, summary } from '../src/chart-data.ts'

const HOUR = 3600
const at = (hour: number): string => new Date(Date.UTC(2013, 1, 8, hour)).toISOString()

function observed(hour: number, value: number | null, more: Partial<Observation> = {}): Observation {
  return {
    kpi: 'k',
    kpi_version: 1,
    series_key: '',
    window_start: at(hour),
    window_end: at(hour + 1),
    revision: 1,
    status: 'final',
    value,
    count: 10,
    ...more,
  } as Observation
}

const band = (hour: number, low: number | null, high: number): Expectation =>
  ({ window_start: at(hour), low, middle: high / 2, high }) as Expectation

describe('what a chart draws', () => {
  it('leaves a gap where windows are missing, rather than a line across it', () => {
    const { x, final } = chartData([observed(0, 1), observed(3, 2)], [], HOUR)
    expect(final).toEqual([1, null, 2])
    expect(x.map((each) => (each - (x[0] as number)) / HOUR)).toEqual([0, 1, 3])
  })

  it('draws sessions without gaps: they have no cadence', () => {
    expect(chartData([observed(0, 1), observed(9, 2)], [], null).final).toEqual([1, 2])
  })

  it('tells an open window from closed ones, joined to the last closed one', () => {
    const { final, open } = chartData([observed(0, 1), observed(1, 2, { status: 'provisional' })], [], HOUR)
    expect(final).toEqual([1, null])
    expect(open).toEqual([1, 2])
  })

  it('puts the expected band on the windows that it speaks of', () => {
    const { low, high } = chartData([observed(0, 1), observed(1, 2)], [band(1, null, 3)], HOUR)
    expect([low, high]).toEqual([[null, null], [null, 3]])
  })

  it('keeps the newest revision of each window, oldest window first, without what was retracted', () => {
    const found = newestRevisions([
      observed(1, 5, { revision: 2 }),
      observed(1, 4, { revision: 1 }),
      observed(0, 1),
      observed(2, 9, { status: 'retracted', revision: 3 }),
    ])
    expect(found.map(({ value }) => value)).toEqual([1, 5])
  })

  it('takes the step of a sliding window, not its length, for the cadence', () => {
    const shape = (kind: string, length: number, every: number | null) => ({ kind, length_seconds: length, every_seconds: every }) as never
    expect([cadence(shape('tumbling', HOUR, null)), cadence(shape('sliding', 24 * HOUR, HOUR)), cadence(shape('session', HOUR, null))]).toEqual([HOUR, HOUR, null])
  })
})

describe('what was expected', () => {
  it('is said in words, for bands open to one side too', () => {
    const said = (low: number | null, high: number | null): string => expectedText({ low, high }, String)
    expect([said(1, 2), said(null, 2), said(1, null), said(null, null), expectedText(null, String)]).toEqual(['1 to 2', 'at most 2', 'at least 1', '', ''])
  })
})

describe('the sentence for those who do not see the line', () => {
  const text = (value: number | null): string => String(value)

  it('says the extent, the present value and how often it was outside the band', () => {
    const data = chartData([observed(0, 1), observed(1, 9)], [band(0, 0, 3), band(1, 0, 3)], HOUR)
    expect(summary(data, 'Delay', text)).toBe('Delay: 2 windows, lowest 1, highest 9, now 9 (final). 1 outside the expected band.')
  })

  it('says so when there is nothing', () => {
    expect(summary(chartData([], [], HOUR), 'Delay', text)).toBe('Delay: no values in this range.')
  })
})
