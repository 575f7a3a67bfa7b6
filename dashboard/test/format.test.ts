import { describe, expect, it } from 'vitest'
import { ago, digits, duration, figureText, milliseconds, percent, seriesName, seriesValues, span, time } from '../src/format.ts'

describe('figures', () => {
  it('show three significant digits below a thousand and whole numbers above', () => {
    expect([0, 0.01234, 1.234, 12.34, 123.4, 12_345.6].map(digits)).toEqual(['0', '0.012', '1.23', '12.3', '123', '12,346'])
  })

  it('show a ratio as a percentage and a missing value as a dash without unit', () => {
    expect(figureText(0.1634, 'ratio')).toBe('16.3 %')
    expect(figureText(12, 'min')).toBe('12 min')
    expect(figureText(null, 'min')).toBe('—')
    expect(figureText(Number.NaN, 'min')).toBe('—')
  })

  it('never round an incomplete share up to all of it', () => {
    expect(percent(0.9999)).toBe('99 %')
    expect(percent(0.99999, 1)).toBe('99.9 %')
    expect(percent(1)).toBe('100 %')
    expect(percent(null)).toBe('—')
  })
})

describe('times', () => {
  it('are shown in UTC, whatever the zone of the reader', () => {
    expect(time('2013-02-08T23:30:00-05:00')).toBe('9 Feb 2013, 04:30')
  })

  it('name the second date of a span only where it differs', () => {
    expect(span('2013-02-08T14:00:00Z', '2013-02-08T15:00:00Z')).toBe('8 Feb 2013, 14:00 – 15:00')
    expect(span('2013-02-08T23:00:00Z', '2013-02-09T00:00:00Z')).toBe('8 Feb 2013, 23:00 – 9 Feb 2013, 00:00')
  })

  it('become ages in the largest unit that says enough', () => {
    expect([900, 59_000, 61_000, 3_900_000, 36_000_000, 200_000_000].map(duration)).toEqual(['1 s', '59 s', '1 min', '1 h 5 min', '10 h', '2 d'])
    expect(ago(null, 0)).toBe('never')
    expect(ago('1970-01-01T00:00:01Z', 4000)).toBe('3 s ago')
    expect(ago('2013-02-09T12:00:00Z', Date.parse('2014-02-09T11:00:00Z'))).toBe('365 d ago')
    expect(ago('2013-02-09T12:00:00Z', Date.parse('2026-11-27T12:00:00Z'))).toBe('on 9 Feb 2013')
  })

  it('are read from the catalog’s durations, and from nothing else', () => {
    expect([milliseconds('90s'), milliseconds('1h'), milliseconds('soon'), milliseconds(null)]).toEqual([90_000, 3_600_000, null, null])
  })
})

describe('series keys', () => {
  it('become words, with escapes undone and missing values named', () => {
    expect(seriesName('carrier=UA,origin=EWR')).toBe('carrier UA · origin EWR')
    expect(seriesName('name=a%2Cb')).toBe('name a,b')
    expect(seriesName('tailnum')).toBe('tailnum (none)')
    expect(seriesName('tailnum=')).toBe('tailnum (empty)')
    expect(seriesName('')).toBe('all')
    expect(seriesValues('carrier=UA,origin=EWR')).toBe('UA · EWR')
  })
})
