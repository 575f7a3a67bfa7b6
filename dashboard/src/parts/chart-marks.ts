/** What is drawn around the line: stretches of signals, limits, remarks and decisions. Canvas only. */
import type uPlot from 'uplot'
import type { Verdict } from '../api.ts'
import { colour } from '../theme.ts'

export interface SignalStretch {
  verdict: Verdict
  from: number
  until: number
  covers: (moment: string) => boolean
}

export interface ChartMarks {
  signals: SignalStretch[]
  annotations: { at: number; text: string }[]
  decisions: { at: number; title: string }[]
  thresholds: { value: number; label: string }[]
  windowSeconds: number
}

const DPR = (): number => devicePixelRatio || 1

export function drawBehind(plot: uPlot, marks: ChartMarks): void {
  const { ctx, bbox } = plot
  ctx.save()
  clip(ctx, bbox)
  for (const { verdict, from, until } of marks.signals) {
    const left = plot.valToPos(from, 'x', true)
    const width = Math.max(3 * DPR(), plot.valToPos(until, 'x', true) - left)
    ctx.globalAlpha = 0.14
    ctx.fillStyle = colour(verdictToken(verdict))
    ctx.fillRect(left, bbox.top, width, bbox.height)
    ctx.globalAlpha = 1
    ctx.fillRect(left, bbox.top, width, 3 * DPR())
  }
  ctx.restore()
}

export function drawInFront(plot: uPlot, marks: ChartMarks): void {
  const { ctx, bbox } = plot
  ctx.save()
  clip(ctx, bbox)
  ctx.font = `${11 * DPR()}px ${getComputedStyle(plot.root).fontFamily}`
  for (const threshold of marks.thresholds) drawThreshold(plot, threshold)
  const { min, max } = plot.scales['x'] ?? {}
  for (const { verdict, from, until } of marks.signals) {
    if (min == null || max == null || until <= min || from > max) continue
    drawShape(ctx, verdict, Math.max(bbox.left + 8 * DPR(), plot.valToPos(from, 'x', true)), bbox.top + 14 * DPR())
  }
  for (const { at } of marks.annotations) drawMoment(plot, at, 'A', colour('ink-quiet'))
  for (const { at } of marks.decisions) drawMoment(plot, at, 'D', colour('accent'))
  ctx.restore()
}

export function verdictToken(verdict: Verdict): string {
  return `verdict-${verdict.replace('_', '-')}`
}

function clip(ctx: CanvasRenderingContext2D, bbox: uPlot.BBox): void {
  ctx.beginPath()
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height)
  ctx.clip()
}

function drawThreshold(plot: uPlot, { value, label }: ChartMarks['thresholds'][number]): void {
  const { ctx, bbox } = plot
  const y = plot.valToPos(value, 'y', true)
  ctx.strokeStyle = ctx.fillStyle = colour('threshold')
  ctx.lineWidth = 1.5 * DPR()
  ctx.setLineDash([8 * DPR(), 3 * DPR(), 2 * DPR(), 3 * DPR()])
  line(ctx, bbox.left, y, bbox.left + bbox.width, y)
  ctx.setLineDash([])
  ctx.textAlign = 'right'
  ctx.fillText(label, bbox.left + bbox.width - 4 * DPR(), y - 4 * DPR())
}

/** The letter says what the line means; the list below the chart says what it says. */
function drawMoment(plot: uPlot, at: number, letter: string, ink: string): void {
  const { ctx, bbox } = plot
  const x = plot.valToPos(at, 'x', true)
  const bottom = bbox.top + bbox.height
  ctx.strokeStyle = ctx.fillStyle = ink
  ctx.lineWidth = DPR()
  ctx.setLineDash([2 * DPR(), 3 * DPR()])
  line(ctx, x, bbox.top, x, bottom)
  ctx.setLineDash([])
  ctx.fillRect(x - 7 * DPR(), bottom - 15 * DPR(), 14 * DPR(), 14 * DPR())
  ctx.fillStyle = colour('paper')
  ctx.textAlign = 'center'
  ctx.fillText(letter, x, bottom - 4 * DPR())
}

/** The same shapes as the words beside the chart carry. */
function drawShape(ctx: CanvasRenderingContext2D, verdict: Verdict, x: number, y: number): void {
  const size = 5.5 * DPR()
  ctx.strokeStyle = ctx.fillStyle = colour(verdictToken(verdict))
  ctx.lineWidth = 1.6 * DPR()
  ctx.beginPath()
  if (verdict === 'sustained') polygon(ctx, [[x, y - size], [x + size, y + size], [x - size, y + size]])
  else if (verdict === 'transient') polygon(ctx, [[x, y - size], [x + size, y], [x, y + size], [x - size, y]])
  else if (verdict === 'undecided') ctx.arc(x, y, size, 0, 2 * Math.PI)
  else ctx.rect(x - size, y - size, 2 * size, 2 * size)
  if (verdict === 'sustained') ctx.fill()
  else ctx.stroke()
}

function polygon(ctx: CanvasRenderingContext2D, points: [number, number][]): void {
  for (const [x, y] of points) ctx.lineTo(x, y)
  ctx.closePath()
}

function line(ctx: CanvasRenderingContext2D, x1: number, y1: number, x2: number, y2: number): void {
  ctx.beginPath()
  ctx.moveTo(x1, y1)
  ctx.lineTo(x2, y2)
  ctx.stroke()
}
