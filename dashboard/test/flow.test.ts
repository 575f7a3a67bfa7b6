import { describe, expect, it } from 'vitest'
import type { Flow } from '../src/api.ts'
import { bars, errors, path, rhythm, summary } from '../src/flow.ts'

const since = '2026-11-24T04:00:00Z'
const now = Date.parse('2026-11-24T10:00:20Z')
const minute = (text: string, events: number, failed = 0) => ({ minute: `2026-11-24T${text}:00Z`, events, errors: failed })
const known: NonNullable<Flow['rhythm']> = {
  minute: '2026-11-24T10:00:00Z', minutes: 5, events: 2990, expected: 3000, low: 1500, quiet_minutes: 0, allowed_minutes: 5,
}

describe('the bars of a source', () => {
  it('hold every event once, and are as high as nothing where nothing came', () => {
    const drawn = bars({ since, minutes: [minute('04:00', 3), minute('04:04', 4, 1), minute('09:59', 10)] }, now, 72)
    expect(drawn).toHaveLength(72)
    expect(drawn[0]).toEqual({ at: Date.parse(since), events: 7, errors: 1 })
    expect(drawn[71]?.events).toBe(10)
    expect(drawn.reduce((sum, { events }) => sum + events, 0)).toBe(17)
  })

  it('are all whole, however long ago it was asked', () => {
    const drawn = bars({ since, minutes: [minute('04:00', 3), minute('04:01', 4)] }, now + 60_000, 72)
    expect(drawn).toHaveLength(72)
    expect(drawn[0]).toEqual({ at: Date.parse(since) + 60_000, events: 4, errors: 0 })
  })

  it('are said in a sentence', () => {
    const drawn = bars({ since, minutes: [minute('04:00', 300)] }, now, 72)
    expect(summary(drawn, 5)).toBe('Events a minute over the last 6 h: 300 in all, most 60, least 0.')
  })
})

describe('the rhythm', () => {
  it('is good, bad or not known, never guessed', () => {
    expect(rhythm({ rhythm: known, minutes: [] })).toEqual({ mark: 'good', text: '2,990 events in 5 min, where 3,000 are usual' })
    expect(rhythm({ rhythm: { ...known, events: 1200 }, minutes: [] }).mark).toBe('bad')
    expect(rhythm({ rhythm: { ...known, events: 2000 }, minutes: [] }).mark).toBe('warning')
    expect(rhythm({ rhythm: { ...known, quiet_minutes: 6 }, minutes: [] })).toEqual({ mark: 'bad', text: 'silent for 6 min; its rhythm allows 5' })
    expect(rhythm({ rhythm: { ...known, expected: null, low: null, events: null, minutes: null }, minutes: [] }).mark).toBe('unknown')
    expect(rhythm({ rhythm: null, minutes: [] }).text).toBe('nothing has arrived')
  })
})

describe('a partition', () => {
  it('is alive while it is heard of', () => {
    expect(path({ heartbeat_at: '2026-11-24T10:00:00Z' }, now)).toEqual({ mark: 'good', text: 'alive 20 s ago' })
    expect(path({ heartbeat_at: '2026-11-24T09:50:00Z' }, now)).toEqual({ mark: 'bad', text: 'nothing for 10 min' })
    expect(path({ heartbeat_at: null }, now).mark).toBe('unknown')
  })
})

describe('the share of errors', () => {
  it('is small, large, none or not known', () => {
    expect(errors(null).mark).toBe('unknown')
    expect(errors(0)).toEqual({ mark: 'good', text: '0.0 % dead letters' })
    expect(errors(0.003)).toEqual({ mark: 'warning', text: '0.30 % dead letters' })
    expect(errors(0.2).mark).toBe('bad')
  })
})
