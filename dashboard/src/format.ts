/** Numbers, times and ages as people read them. Times are shown in UTC, the zone of every stored time. */

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

export interface Figure {
  value: string
  unit: string
}

/** Three significant digits with the unit; a ratio is a percentage. */
export function figure(value: number | null | undefined, unit = ''): Figure {
  if (value === null || value === undefined || !Number.isFinite(value)) return { value: '—', unit: '' }
  if (unit === 'ratio' || unit === 'share') return { value: digits(value * 100), unit: '%' }
  return { value: digits(value), unit: unit === '1' ? '' : unit }
}

export function figureText(value: number | null | undefined, unit = ''): string {
  const { value: text, unit: suffix } = figure(value, unit)
  return suffix ? `${text} ${suffix}` : text
}

export function digits(value: number): string {
  const size = Math.abs(value)
  if (size >= 1000) return value.toLocaleString('en-GB', { maximumFractionDigits: 0 })
  const places = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 || size === 0 ? 2 : 3
  return value.toLocaleString('en-GB', { maximumFractionDigits: places })
}

export function integer(value: number): string {
  return value.toLocaleString('en-GB', { maximumFractionDigits: 0 })
}

export function percent(share: number | null | undefined, places = 0): string {
  if (share === null || share === undefined) return '—'
  // 99.96 % must not be rounded up to "all of it".
  const limited = share < 1 ? Math.min(share, 1 - 0.5 * 10 ** -(places + 2) - 1e-12) : share
  return `${(limited * 100).toFixed(places)} %`
}

/** `3 s`, `14 min`, `5 h`, `2 d`. */
export function duration(ms: number): string {
  const size = Math.max(0, ms)
  if (size < MINUTE) return `${Math.round(size / 1000)} s`
  if (size < HOUR) return `${Math.round(size / MINUTE)} min`
  if (size < 2 * DAY) {
    const hours = Math.floor(size / HOUR)
    const minutes = Math.round((size % HOUR) / MINUTE)
    return minutes && hours < 10 ? `${hours} h ${minutes} min` : `${hours} h`
  }
  return `${Math.round(size / DAY)} d`
}

/** `3 s ago`; what is more than a year ago, as in a replay, by its day: `on 9 Feb 2013`. */
export function ago(moment: string | null | undefined, now: number): string {
  if (!moment) return 'never'
  const age = now - Date.parse(moment)
  return age > 365 * DAY ? `on ${date(moment)}` : `${duration(age)} ago`
}

const DATE = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', year: 'numeric', timeZone: 'UTC' })
const CLOCK = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', timeZone: 'UTC' })
const SECONDS = new Intl.DateTimeFormat('en-GB', {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  timeZone: 'UTC',
})

export function date(moment: string | number | null | undefined): string {
  return moment === null || moment === undefined ? '—' : DATE.format(new Date(moment))
}

export function clock(moment: string | number): string {
  return CLOCK.format(new Date(moment))
}

/** `9 Feb 2013, 14:00`. */
export function time(moment: string | number | null | undefined): string {
  if (moment === null || moment === undefined) return '—'
  return `${date(moment)}, ${clock(moment)}`
}

/** With seconds, for what was recorded rather than what happened. */
export function instant(moment: string | null | undefined): string {
  if (!moment) return '—'
  return `${date(moment)}, ${SECONDS.format(new Date(moment))}`
}

/** `9 Feb 2013, 14:00 – 15:00`, the second date only where it differs. */
export function span(start: string, end: string): string {
  return date(start) === date(end) ? `${time(start)} – ${clock(end)}` : `${time(start)} – ${time(end)}`
}

const UNITS: Record<string, number> = { s: 1000, m: MINUTE, h: HOUR, d: DAY, w: 7 * DAY }

/** The catalog's durations (`90s`, `1h`, `7d`) in milliseconds. */
export function milliseconds(text: string | null | undefined): number | null {
  const parts = /^(\d+)([smhdw])$/.exec(text ?? '')
  return parts ? Number(parts[1]) * (UNITS[parts[2] ?? 's'] ?? 0) : null
}

/** The canonical series key as words: `carrier UA · origin EWR`. */
export function seriesName(key: string): string {
  if (!key) return 'all'
  return key
    .split(',')
    .map((part) => {
      const at = part.indexOf('=')
      return at < 0 ? `${part} (none)` : `${part.slice(0, at)} ${decodeURIComponent(part.slice(at + 1)) || '(empty)'}`
    })
    .join(' · ')
}

/** Only the values, for narrow places: `UA · EWR`. */
export function seriesValues(key: string): string {
  if (!key) return 'all'
  return key
    .split(',')
    .map((part) => {
      const at = part.indexOf('=')
      return at < 0 ? '(none)' : decodeURIComponent(part.slice(at + 1)) || '(empty)'
    })
    .join(' · ')
}

export function words(identifier: string): string {
  return identifier.replaceAll('_', ' ')
}
