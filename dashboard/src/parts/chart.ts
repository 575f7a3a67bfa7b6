import { html, nothing, type PropertyValues, type TemplateResult } from 'lit'
import { customElement, property, state } from 'lit/decorators.js'
import uPlot from 'uplot'
import type { Observation } from '../api.ts'
import type { ChartData } from '../chart-data.ts'
import { expectedText, summary } from '../chart-data.ts'
import { figure, figureText, span } from '../format.ts'
import { statusMark } from '../marks.ts'
import { go } from '../router.ts'
import { View } from '../view.ts'
import { type ChartMarks, drawBehind, drawInFront } from './chart-marks.ts'
import { colour } from '../theme.ts'
import { whyAddress } from './why-address.ts'
import './chart-table.ts'

const HEIGHT = 320
/** The summary is read out no more often than this, however fast the values move. */
const SUMMARY_EVERY_MS = 15_000
const ZOOM = 0.5
const DAY_S = 86_400
/** From this distance of ticks (seconds) on: the label, and what is added where a new year, day or minute begins (uPlot's order). */
const TIME_LABELS: uPlot.Axis.Values = [
  [DAY_S * 365, '{YYYY}', null, null, null, null, null, null, 1],
  [DAY_S * 28, '{MMM}', '\n{YYYY}', null, null, null, null, null, 1],
  [DAY_S, '{D} {MMM}', '\n{YYYY}', null, null, null, null, null, 1],
  [60, '{HH}:{mm}', '\n{D} {MMM}', null, '\n{D} {MMM}', null, null, null, 1],
  [1, '{HH}:{mm}:{ss}', '\n{D} {MMM}', null, '\n{D} {MMM}', null, null, null, 1],
]

/**
 * One series over time. Everything that the pointer can do the keyboard can: the data cursor is a slider whose
 * value is read out, Enter explains the value under it, + and − zoom.
 */
@customElement('sx-chart')
export class Chart extends View {
  @property({ attribute: false }) data!: ChartData
  @property({ attribute: false }) marks: ChartMarks = { signals: [], annotations: [], decisions: [], thresholds: [], windowSeconds: 0 }
  @property() override title = ''
  @property() unit = ''
  @property({ type: Boolean }) points = false
  @property({ type: Boolean }) stale = false
  @state() private cursor: number | null = null
  @state() private spoken = ''
  private plot: uPlot | undefined
  private zoomed = false
  private spokenAt = 0
  private resizing: ResizeObserver | undefined

  override connectedCallback(): void {
    super.connectedCallback()
    window.addEventListener('sextant-theme', this.rebuild)
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', this.rebuild)
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    window.removeEventListener('sextant-theme', this.rebuild)
    matchMedia('(prefers-color-scheme: dark)').removeEventListener('change', this.rebuild)
    this.resizing?.disconnect()
    this.plot?.destroy()
    this.plot = undefined
  }

  protected override render(): TemplateResult {
    const last = this.data.x.length - 1
    return html`
      <figure class="chart ${this.stale ? 'unlive' : ''}">
        <div
          class="plot"
          role="slider"
          tabindex="0"
          aria-label="${this.title}: data cursor. Arrow keys move, Enter explains the value, plus and minus zoom, zero shows all."
          aria-valuemin="0"
          aria-valuemax=${Math.max(0, last)}
          aria-valuenow=${this.cursor ?? Math.max(0, last)}
          aria-valuetext=${this.valueText(this.cursor ?? last)}
          @keydown=${this.key}
          @dblclick=${() => this.showAll()}
        ></div>
        <figcaption>
          ${this.readout()}
          <span class="chart-tools">
            <button type="button" class="plain" @click=${() => this.zoom(ZOOM)}>Zoom in</button>
            <button type="button" class="plain" @click=${() => this.zoom(1 / ZOOM)}>Zoom out</button>
            <button type="button" class="plain" @click=${() => this.showAll()} ?disabled=${!this.zoomed}>Show all</button>
          </span>
        </figcaption>
        <p class="sr-only" aria-live="polite">${this.spoken}</p>
      </figure>
      <sx-chart-table .data=${this.data} .unit=${this.unit} .title=${this.title}></sx-chart-table>
    `
  }

  protected override updated(changed: PropertyValues): void {
    if (!this.plot) this.build()
    else if (changed.has('unit') || changed.has('points')) this.rebuild()
    else if (changed.has('data')) this.plot.setData(this.series(), !this.zoomed)
    if (changed.has('marks')) this.plot?.redraw(false)
    if (changed.has('data') && Date.now() - this.spokenAt > SUMMARY_EVERY_MS) {
      this.spokenAt = Date.now()
      this.spoken = summary(this.data, this.title, (value) => figureText(value, this.unit))
    }
  }

  private readonly rebuild = (): void => {
    if (!this.plot) return
    this.resizing?.disconnect()
    this.plot.destroy()
    this.plot = undefined
    this.build()
  }

  private series(): uPlot.AlignedData {
    const { x, low, high, middle, final, open } = this.data
    // A band that is open to one side is filled from its middle.
    const bottom = low.map((value, index) => value ?? (high[index] === null ? null : (middle[index] ?? null)))
    const top = high.map((value, index) => value ?? (low[index] === null ? null : (middle[index] ?? null)))
    return [x, bottom, top, middle, final, open]
  }

  private build(): void {
    const place = this.querySelector<HTMLElement>('.plot')
    if (!place) return
    const ink = colour('ink-quiet')
    const line = colour('line-value')
    const grid = { stroke: colour('rule'), width: 1 }
    const font = `12px ${getComputedStyle(this).fontFamily}`
    const axis = { stroke: ink, grid, ticks: { ...grid, size: 4 }, font }
    const point = { show: this.points, size: 6, fill: line }
    this.plot = new uPlot(
      {
        width: Math.max(200, place.clientWidth),
        height: HEIGHT,
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), 'UTC'),
        legend: { show: false },
        scales: { x: { time: true } },
        cursor: { y: false, drag: { x: true, y: false, dist: 6 }, points: { size: 8 } },
        axes: [
          { ...axis, values: TIME_LABELS },
          { ...axis, size: 64, values: (_plot, ticks) => ticks.map((tick) => this.tick(tick)) },
        ],
        bands: [{ series: [2, 1], fill: colour('band') }],
        series: [
          {},
          { stroke: colour('band-edge'), width: 1, points: { show: false } },
          { stroke: colour('band-edge'), width: 1, points: { show: false } },
          { stroke: colour('band-edge'), width: 1, dash: [2, 4], points: { show: false } },
          { stroke: line, width: 2, points: this.points ? point : { size: 5, fill: line } },
          { stroke: line, width: 2, dash: [6, 5], points: { show: true, size: 6, fill: colour('paper'), stroke: line } },
        ],
        hooks: {
          drawClear: [(plot) => drawBehind(plot, this.marks)],
          draw: [(plot) => drawInFront(plot, this.marks)],
          setCursor: [(plot) => (this.cursor = plot.cursor.idx ?? null)],
          setSelect: [(plot) => (this.zoomed ||= plot.select.width > 0)],
        },
      },
      this.series(),
      place,
    )
    this.resizing = new ResizeObserver(() => {
      if (place.clientWidth) this.plot?.setSize({ width: place.clientWidth, height: HEIGHT })
    })
    this.resizing.observe(place)
  }

  private tick(value: number): string {
    const { value: text, unit } = figure(value, this.unit)
    return unit === '%' ? `${text} %` : text
  }

  private expected(index: number): string {
    return expectedText(this.data.expectations[index], (value) => figureText(value, this.unit))
  }

  private at(index: number | null): Observation | null {
    return index === null ? null : (this.data.observations[index] ?? null)
  }

  private readout(): TemplateResult {
    const index = this.cursor ?? this.data.x.length - 1
    const observation = this.at(index)
    if (!observation) return html`<span class="readout quiet">No window here: nothing is drawn where nothing is known.</span>`
    const expected = this.expected(index)
    return html`<span class="readout">
      <span class="quiet">${span(observation.window_start, observation.window_end)}</span>
      <strong>${figureText(observation.value, this.unit)}</strong>
      ${statusMark(observation.status)}
      ${expected ? html`<span>expected ${expected}</span>` : nothing}
      <span class="quiet">${observation.count} events · revision ${observation.revision}</span>
      <a href=${whyAddress(observation)}>Why this number?</a>
    </span>`
  }

  private valueText(index: number): string {
    const observation = this.at(index)
    if (!observation) return 'no window here'
    const expected = this.expected(index)
    const signal = this.marks.signals.find((each) => each.covers(observation.window_start))
    return (
      `${span(observation.window_start, observation.window_end)}: ${figureText(observation.value, this.unit)}, ` +
      `${observation.status}${expected ? `, expected ${expected}` : ''}${signal ? `, signal ${signal.verdict.replace('_', ' ')}` : ''}`
    )
  }

  private readonly key = (event: KeyboardEvent): void => {
    const last = this.data.x.length - 1
    const now = this.cursor ?? last
    const moves: Record<string, number> = {
      ArrowLeft: now - 1,
      ArrowRight: now + 1,
      ArrowDown: now - 1,
      ArrowUp: now + 1,
      PageDown: now - 10,
      PageUp: now + 10,
      Home: 0,
      End: last,
    }
    const target = moves[event.key]
    const observation = this.at(now)
    if (target !== undefined) this.moveTo(Math.max(0, Math.min(last, target)))
    else if (event.key === 'Enter' && observation) go(whyAddress(observation))
    else if (event.key === '+' || event.key === '=') this.zoom(ZOOM)
    else if (event.key === '-') this.zoom(1 / ZOOM)
    else if (event.key === '0' || event.key === 'Escape') this.showAll()
    else return
    event.preventDefault()
  }

  private moveTo(index: number): void {
    const x = this.data.x[index]
    if (!this.plot || x === undefined) return
    const { min, max } = this.plot.scales['x'] ?? {}
    if (min !== undefined && max !== undefined && min !== null && max !== null && (x < min || x > max)) {
      const half = (max - min) / 2
      this.plot.setScale('x', { min: x - half, max: x + half })
    }
    this.plot.setCursor({ left: this.plot.valToPos(x, 'x'), top: 10 })
    this.cursor = index
  }

  /** Around the data cursor, so that what one looks at stays in sight. */
  private zoom(factor: number): void {
    const { min, max } = this.plot?.scales['x'] ?? {}
    const first = this.data.x[0]
    const last = this.data.x.at(-1)
    if (min == null || max == null || first === undefined || last === undefined) return
    const centre = this.cursor === null ? (min + max) / 2 : (this.data.x[this.cursor] ?? (min + max) / 2)
    const half = ((max - min) / 2) * factor
    if (half * 2 >= last - first) return this.showAll()
    this.zoomed = true
    this.plot?.setScale('x', { min: Math.max(first, centre - half), max: Math.min(last, centre + half) })
    this.requestUpdate()
  }

  private showAll(): void {
    const first = this.data.x[0]
    const last = this.data.x.at(-1)
    this.zoomed = false
    if (first !== undefined && last !== undefined) this.plot?.setScale('x', { min: first, max: last })
    this.requestUpdate()
  }
}
