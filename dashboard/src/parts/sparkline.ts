import { html, nothing, svg, type SVGTemplateResult, type TemplateResult } from 'lit'
import { figureText, time } from '../format.ts'

export interface SparkPoint {
  at: string
  value: number | null
}

const WIDTH = 160
const HEIGHT = 40
const PAD = 4

/** The last windows of a series. A missing value is a gap; the open window at the end is dashed. */
export function sparkline(points: SparkPoint[], unit: string, provisional: boolean): TemplateResult {
  const values = points.map((point) => point.value).filter((value): value is number => value !== null)
  if (values.length < 2) return html`<span class="spark none quiet">no trend yet</span>`
  const low = Math.min(...values)
  const high = Math.max(...values)
  const range = high - low || 1
  const step = (WIDTH - 2 * PAD) / Math.max(1, points.length - 1)
  const x = (index: number) => PAD + index * step
  const y = (value: number) => HEIGHT - PAD - ((value - low) / range) * (HEIGHT - 2 * PAD)
  const settled = provisional ? points.slice(0, -1) : points
  const end = points.length - 1
  const last = points[end]
  const before = points[end - 1]
  const label = `Trend over ${points.length} windows since ${time(points[0]?.at ?? null)}: lowest ${figureText(low, unit)}, highest ${figureText(high, unit)}`
  return html`<svg class="spark" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label=${label} preserveAspectRatio="none">
    <path class="spark-line" d=${path(settled, x, y)} />
    ${provisional && last && before && last.value !== null && before.value !== null
      ? svg`<path class="spark-open" d="M${x(end - 1)} ${y(before.value)}L${x(end)} ${y(last.value)}" />`
      : nothing}
    ${last && last.value !== null
      ? dot(x(end), y(last.value), provisional)
      : nothing}
  </svg>`
}

/** A line of no length with a round cap stays a dot however wide the picture is stretched; an open window's is hollow. */
function dot(x: number, y: number, hollow: boolean): SVGTemplateResult {
  const place = `M${x} ${y}h0`
  return svg`<path class="spark-dot" d=${place} />${hollow ? svg`<path class="spark-dot spark-hole" d=${place} />` : nothing}`
}

function path(points: SparkPoint[], x: (index: number) => number, y: (value: number) => number): string {
  let text = ''
  let drawing = false
  points.forEach((point, index) => {
    if (point.value === null) drawing = false
    else {
      text += `${drawing ? 'L' : 'M'}${x(index).toFixed(1)} ${y(point.value).toFixed(1)}`
      drawing = true
    }
  })
  return text
}
