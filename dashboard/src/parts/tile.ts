import { html, nothing, type TemplateResult } from 'lit'
import { customElement, property } from 'lit/decorators.js'
import type { Kpi, Latest, Signal } from '../api.ts'
import { digits, figure, seriesName, span, time } from '../format.ts'
import { live, present } from '../live.ts'
import { count, freshness, icon, mark, observationQuality, qualityTriple, statusMark, verdictMark } from '../marks.ts'
import { href } from '../router.ts'
import { View } from '../view.ts'
import { sparkline } from './sparkline.ts'
import { whyAddress } from './why-address.ts'

const GOOD = { up: 'higher is better', down: 'lower is better', none: '' }

/** A KPI at a glance: its value, where it goes, how fresh and how trustworthy it is, and what is wrong. */
@customElement('sx-tile')
export class Tile extends View {
  @property({ attribute: false }) kpi!: Kpi
  @property({ attribute: false }) signals: Signal[] = []
  @property({ attribute: false }) cadence: number | null = null

  protected override render(): TemplateResult {
    const { kpi } = this
    const headline = this.headline()
    const [worst] = this.signals
    const state = freshness(
      kpi,
      headline?.recorded_at ?? null,
      this.cadence,
      live.lostAt !== null,
      present(),
    )
    const unlive = state.state === 'stale' || state.state === 'off'
    return html`<article class="tile ${unlive ? 'unlive' : ''} ${worst ? `tile-${worst.verdict}` : ''}" aria-labelledby="tile-${kpi.id}">
      <header>
        <h3 id="tile-${kpi.id}"><a href=${href(['kpis', kpi.id])}>${kpi.title}</a></h3>
        ${this.signalBadge()}
      </header>
      ${headline ? this.body(headline) : html`<p class="value none">—<span class="unit">no window has closed yet</span></p>`}
      <footer>
        ${mark(state.state, state.words)}
        ${qualityTriple(
          headline
            ? observationQuality(headline)
            : { score: null, assessedShare: null, worst: null },
        )}
      </footer>
    </article>`
  }

  /** The series that needs attention most, else the one with the most events. */
  private headline(): Latest | undefined {
    const troubled = new Set(this.signals.map((signal) => signal.series_key))
    return this.kpi.latest.find((each) => troubled.has(each.series_key)) ?? this.kpi.latest[0]
  }

  private body(latest: Latest): TemplateResult {
    const { kpi } = this
    const { value, unit } = figure(latest.value, kpi.unit)
    const provisional = latest.status === 'provisional'
    return html`<div class="tile-body">
        <a
          class="value ${provisional ? 'provisional' : ''}"
          href=${whyAddress(latest)}
          aria-label="${kpi.title}: ${value} ${unit}, ${latest.status}. Why this number?"
          title="Why this number?"
          >${value} <span class="unit">${unit}</span></a
        >
        ${sparkline(latest.trend, kpi.unit, provisional)}
      </div>
      <p class="tile-facts">
        ${statusMark(latest.status)} ${this.change(latest)}
        ${kpi.good === 'none' ? nothing : html`<span class="good">${icon(kpi.good)}${GOOD[kpi.good]}</span>`}
      </p>
      <p class="tile-facts quiet">
        <span title="The window in event time">${span(latest.window_start, latest.window_end)}</span>
        ${kpi.series_total > 1 || latest.series_key
          ? html`<span title=${latest.series_key}>${seriesName(latest.series_key)}${kpi.series_total > 1
                ? ` (1 of ${kpi.series_total} series)`
                : ''}</span>`
          : nothing}
        <span title="Nothing earlier than this is still awaited">as of ${time(latest.watermark ?? kpi.freshness.watermark)}</span>
      </p>`
  }

  /** Against the window before; an open window is not compared, it has not seen all of its events. */
  private change(latest: Latest): TemplateResult | typeof nothing {
    const before = latest.trend.at(-2)?.value
    if (latest.status === 'provisional' || before === null || before === undefined || latest.value === null) return nothing
    const scale = this.kpi.unit === 'ratio' || this.kpi.unit === 'share' ? 100 : 1
    const difference = (latest.value - before) * scale
    const text = `${difference > 0 ? '+' : ''}${digits(difference)}${scale === 100 ? ' pts' : ''}`
    return html`<span class="change">${text} on the window before</span>`
  }

  private signalBadge(): TemplateResult | typeof nothing {
    const [worst] = this.signals
    if (!worst) return nothing
    const more = this.signals.length - 1
    return html`<a
      class="badge"
      href=${more ? href(['signals'], { kpi: this.kpi.id }) : href(['signals', worst.id])}
      >${verdictMark(worst.verdict)}${more ? html`<span>+${more}</span>` : nothing}<span class="sr-only">
        ${count(this.signals.length, 'open signal')} on ${this.kpi.title}</span
      ></a
    >`
  }
}
