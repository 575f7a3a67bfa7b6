/** The marks of the product: always a shape and a word, colour only as the third. */
import { html, nothing, svg, type SVGTemplateResult, type TemplateResult } from 'lit'
import type { Kpi, KpiDetail, Observation, Severity, Verdict } from './api.ts'
import { ago, duration, integer, percent } from './format.ts'

const shape = (name: string, content: SVGTemplateResult) =>
  html`<svg class="shape shape-${name}" viewBox="0 0 16 16" width="14" height="14" aria-hidden="true">${content}</svg>`

const SHAPES: Record<string, SVGTemplateResult> = {
  sustained: svg`<path d="M8 1.500 15 14H1Z"/>`,
  transient: svg`<path d="M8 1 15 8 8 15 1 8Z" class="hollow"/>`,
  undecided: svg`<circle cx="8" cy="8" r="6.300" class="hollow"/><path d="M8 1.700a6.300 6.300 0 0 1 0 12.600Z"/>`,
  quality_artefact: svg`<rect x="1.700" y="1.700" width="12.600" height="12.600" class="hollow"/><path d="m4.500 4.500 7 7m0-7-7 7" class="line"/>`,
  info: svg`<circle cx="8" cy="8" r="6.300" class="hollow"/><path d="M8 7v4.500M8 4.200v.6" class="line"/>`,
  warning: svg`<path d="M8 1.800 14.800 14H1.200Z" class="hollow"/><path d="M8 6.200v3.600M8 11.600v.6" class="line"/>`,
  critical: svg`<path d="M5 1h6l4 4v6l-4 4H5l-4-4V5Z"/><path d="M8 4v5M8 11.200v.8" class="line cut"/>`,
  good: svg`<circle cx="8" cy="8" r="6.800"/><path d="m4.800 8.200 2.300 2.300 4.200-4.700" class="line cut"/>`,
  bad: svg`<path d="M1 2h14L8 14.500Z"/>`,
  unknown: svg`<circle cx="8" cy="8" r="6.300" class="hollow dashed"/><path d="M6.200 6.300c0-2.300 3.600-2.300 3.600 0 0 1.400-1.800 1.500-1.800 3M8 11.300v.6" class="line"/>`,
  fresh: svg`<circle cx="8" cy="8" r="4.500"/>`,
  stale: svg`<circle cx="8" cy="8" r="6.300" class="hollow"/><path d="M8 4.500V8l2.500 1.800" class="line"/>`,
  off: svg`<circle cx="8" cy="8" r="6.300" class="hollow"/><path d="m3.600 3.600 8.800 8.800" class="line"/>`,
  up: svg`<path d="M8 14V3M3.500 7.500 8 3l4.500 4.500" class="line"/>`,
  down: svg`<path d="M8 2v11M3.500 8.500 8 13l4.500-4.500" class="line"/>`,
}

export function icon(name: string): TemplateResult {
  return shape(name, SHAPES[name] ?? svg``)
}

export function mark(name: string, text: unknown, title = ''): TemplateResult {
  return html`<span class="mark mark-${name}" title=${title || nothing}>${icon(name)}<span>${text}</span></span>`
}

export const VERDICTS: Record<Verdict, { text: string; meaning: string }> = {
  sustained: { text: 'sustained', meaning: 'Out of its limits for long enough to be a change, not noise' },
  transient: { text: 'transient', meaning: 'Came back within its limits before it became a change' },
  undecided: { text: 'undecided', meaning: 'Out of its limits, too early to tell noise from change' },
  quality_artefact: { text: 'quality artefact', meaning: 'Explained by bad data rather than by the world' },
}

export function verdictMark(verdict: Verdict): TemplateResult {
  const { text, meaning } = VERDICTS[verdict]
  return mark(verdict, text, meaning)
}

export function severityMark(severity: Severity | null): TemplateResult {
  return severity ? mark(severity, severity) : mark('good', 'no rule broken')
}

/** Whether what the engine published is what plain SQL makes of the same events. */
export function parityMark(parity: KpiDetail['parity']): TemplateResult {
  if (!parity) return mark('unknown', 'not compared with SQL yet')
  if (parity.note) return mark('unknown', `not compared with SQL: ${parity.note}`)
  const { windows, differing } = parity
  const left = Object.values(parity.left_out).reduce((sum, count) => sum + count, 0)
  const without = left ? `; ${integer(left)} left out: what they were made of cannot be had again` : ''
  const meaning = `Every settled window is computed again by plain SQL over its archived events, and compared${without}`
  if (differing) return mark('bad', `${integer(differing)} of ${integer(windows)} windows differ from SQL`, meaning)
  if (!windows) return mark('unknown', 'no window could be compared with SQL yet', meaning)
  return mark('good', `equal to SQL in ${integer(windows)} windows`, meaning)
}

/** Provisional and final, told by a word and by the dash of the border. */
export function statusMark(status: Observation['status']): TemplateResult {
  const meaning =
    status === 'final'
      ? 'The window is closed: this changes only if late events are admitted'
      : 'The window is still open: this may change'
  return html`<span class="status status-${status}" title=${meaning}>${status}</span>`
}

export interface QualityFigures {
  score: number | null
  assessedShare: number | null
  worst: Severity | null
}

export type QualityState = 'good' | 'warning' | 'bad' | 'unknown'

/** What was not assessed is unknown, and unknown is never good. */
export function qualityState({ score, assessedShare, worst }: QualityFigures): QualityState {
  if (score === null || !assessedShare) return 'unknown'
  if (worst === 'critical' || score < 0.8) return 'bad'
  if (worst === 'warning' || score < 0.95 || assessedShare < 0.95) return 'warning'
  return 'good'
}

const QUALITY_WORDS: Record<QualityState, string> = {
  good: 'good',
  warning: 'limited',
  bad: 'poor',
  unknown: 'unknown',
}

/** Score, assessed share and worst severity: three figures that are only ever shown together. */
export function qualityTriple(figures: QualityFigures): TemplateResult {
  const state = qualityState(figures)
  return html`<span class="quality">
    ${mark(state, `Quality ${QUALITY_WORDS[state]}`, 'Share of assessed events without fault · share of events assessed · worst severity')}
    <span class="figures"
      >${figures.score === null ? 'no score' : percent(figures.score, 1)} · ${percent(figures.assessedShare)} assessed ·
      ${figures.worst ?? (state === 'unknown' ? 'severity unknown' : 'none broken')}</span
    >
  </span>`
}

/** The quality of one value, from the counts that travelled with it. */
export function observationQuality(observation: Pick<Observation, 'assessed' | 'suspect' | 'worst' | 'count'>): QualityFigures {
  const { assessed, suspect, worst, count } = observation
  return {
    score: assessed ? 1 - Math.min(suspect, assessed) / assessed : null,
    assessedShare: count ? Math.min(1, assessed / count) : null,
    worst,
  }
}

export type FreshnessState = 'fresh' | 'stale' | 'unknown' | 'off'

export interface Freshness {
  state: FreshnessState
  words: string
}

/** Age against the cadence that the source promised; a broken connection outranks both. */
export function freshness(
  kpi: Pick<Kpi, 'freshness' | 'source'>,
  recordedAt: string | null,
  cadenceSeconds: number | null,
  connectionLost: boolean,
  now: number,
): Freshness {
  const at = recordedAt ?? kpi.freshness.recorded_at
  if (!at) return { state: 'unknown', words: 'no value yet' }
  const age = now - Date.parse(at)
  if (connectionLost) return { state: 'off', words: `not live: value is ${duration(age)} old` }
  const promised = cadenceSeconds === null ? '' : `, events promised every ${duration(cadenceSeconds * 1000)}`
  if (kpi.freshness.source_fresh === false) {
    return { state: 'stale', words: `${kpi.source} is silent; value is ${duration(age)} old${promised}` }
  }
  if (kpi.freshness.source_fresh === null) return { state: 'unknown', words: `updated ${ago(at, now)}, cadence unknown` }
  return { state: 'fresh', words: `updated ${ago(at, now)}${promised}` }
}

export function count(value: number, one: string, many = `${one}s`): string {
  return `${integer(value)} ${value === 1 ? one : many}`
}
