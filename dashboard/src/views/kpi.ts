import { html, nothing, type PropertyValues, type TemplateResult } from 'lit'
import { customElement, property } from 'lit/decorators.js'
import {
  type KpiDetail,
  type Observation,
  type ObservationPage,
  explainSignal,
  listAnnotations,
  listDecisions,
  listObservations,
  listSignals,
  readKpi,
} from '../api.ts'
import { cadence, chartData, newestRevisions } from '../chart-data.ts'
import { figure, instant, seriesName, time, words } from '../format.ts'
import { Following, live, present } from '../live.ts'
import { Load } from '../load.ts'
import { freshness, mark, observationQuality, parityMark, qualityTriple, statusMark, verdictMark } from '../marks.ts'
import { RANGES } from '../parts/range-bar.ts'
import { adjust, href, route } from '../router.ts'
import { empty, loaded } from '../states.ts'
import { View } from '../view.ts'
import { marksFor, type Happenings } from './kpi-marks.ts'
import '../parts/annotate.ts'
import '../parts/chart.ts'
import '../parts/series-picker.ts'
import '../parts/range-bar.ts'

const MOST_WINDOWS = 10_000
const DAY_MS = 86_400_000
const FRAMES_A_SECOND = 4
/** Bands and marks come with the snapshot, so a new window asks for one, but not more often than this. */
const REFRESH_MS = 5000

interface Address {
  series: string
  range: string
  from: string | null
  to: string | null
  asOf: string | null
}

/** One KPI: its line with everything that speaks about it, at any time, as known at any time. */
@customElement('sx-kpi')
export class KpiView extends View {
  @property() kpi = ''
  private loadedFor = ''
  private refresh = 0
  private readonly following = new Following(this)
  private readonly detail = new Load<KpiDetail>(this, (signal) => readKpi(this.kpi, signal), () => this.loadSeries())
  private readonly page = new Load<ObservationPage>(
    this,
    (signal) => listObservations(this.kpi, this.query(), signal),
    (page) => this.follow(page),
  )
  private readonly happenings = new Load<Happenings>(this, (signal) => this.readHappenings(signal))
  private readonly addressChanged = (): void => this.loadSeries()

  override connectedCallback(): void {
    super.connectedCallback()
    window.addEventListener('hashchange', this.addressChanged)
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    window.removeEventListener('hashchange', this.addressChanged)
    clearTimeout(this.refresh)
  }

  protected override willUpdate(changed: PropertyValues): void {
    if (!changed.has('kpi')) return
    this.following.leaveAll()
    this.loadedFor = ''
    for (const load of [this.detail, this.page, this.happenings]) load.clear()
    void this.detail.reload()
  }

  protected override render(): TemplateResult {
    return html`<p class="crumbs"><a href="#/">Overview</a> / KPI</p>
      ${loaded(this.detail, 8, (detail) => this.content(detail))}`
  }

  private content(detail: KpiDetail): TemplateResult {
    const address = this.address()
    return html`
      <div class="page-head">
        <div>
          <h1>${detail.title}</h1>
          <p class="quiet">${detail.description || `${words(detail.owner)} · ${detail.source}`}</p>
        </div>
        ${this.headline(detail)}
      </div>
      <div class="controls">
        ${detail.by.length
          ? html`<sx-series-picker
              .series=${detail.latest}
              .total=${detail.series_total}
              .chosen=${address.series}
              .unit=${detail.unit}
              @chosen=${(event: CustomEvent<string>) => adjust({ series: event.detail })}
            ></sx-series-picker>`
          : nothing}
        <sx-range-bar .range=${address.range} .from=${address.from} .to=${address.to} .asOf=${address.asOf}></sx-range-bar>
      </div>
      ${address.asOf
        ? html`<p class="notice" role="status">
            ${mark('stale', html`As known at ${instant(address.asOf)} UTC. Later revisions, signals and decisions are not shown; nothing here is live.`)}
            <button type="button" @click=${() => adjust({ as_of: null })}>Back to now</button>
          </p>`
        : nothing}
      ${loaded(this.page, 8, (page) => this.chart(detail, page))} ${this.definition(detail)}
    `
  }

  private headline(detail: KpiDetail): TemplateResult {
    const newest = newestRevisions(this.page.data?.items ?? []).at(-1)
    if (!newest) return html`<div class="headline"></div>`
    const { value, unit } = figure(newest.value, detail.unit)
    const fresh = freshness(detail, newest.recorded_at, null, live.lostAt !== null, present())
    return html`<div class="headline">
      <p class="value ${newest.status}">${value} <span class="unit">${unit}</span></p>
      <p>${statusMark(newest.status)} <span class="quiet">as of ${time(newest.watermark ?? newest.window_end)}</span></p>
      <p>${this.address().asOf ? nothing : html`${mark(fresh.state, fresh.words)}&ensp;`}${qualityTriple(observationQuality(newest))}</p>
      ${detail.parity && !detail.parity.note ? html`<p>${parityMark(detail.parity)}</p>` : nothing}
    </div>`
  }

  private chart(detail: KpiDetail, page: ObservationPage): TemplateResult {
    const { series, asOf } = this.address()
    const step = cadence(detail.window)
    const data = chartData(page.items, page.expectations, step)
    if (!data.x.length) {
      return empty('No values in this range', html`Choose a longer range, another series, or a later moment.`)
    }
    const title = detail.by.length ? `${detail.title}, ${seriesName(series)}` : detail.title
    return html`<sx-chart
        .data=${data}
        .marks=${marksFor(detail, this.happenings.data)}
        .title=${title}
        .unit=${detail.unit}
        .points=${step === null}
        .stale=${live.lostAt !== null && asOf === null}
      ></sx-chart>
      ${page.next_page_token ? html`<p class="quiet">Only the newest ${MOST_WINDOWS} windows of the range are drawn.</p>` : nothing}
      ${this.legend(detail)} ${this.list()}`
  }

  private legend(detail: KpiDetail): TemplateResult {
    const rule = detail.signals.map(
      (each) =>
        `${each.id}: ${each.kind}, ${each.severity}, sustained after ${each.sustained_after} windows of at least ${each.min_count} events`,
    )
    return html`<ul class="legend" aria-label="How to read the chart">
      <li><span class="key key-final"></span>final</li>
      <li><span class="key key-open"></span>provisional: the window is open</li>
      <li><span class="key key-band"></span>expected band</li>
      <li><span class="key key-threshold"></span>limit</li>
      <li>${verdictMark('sustained')}</li>
      <li>${verdictMark('transient')}</li>
      <li>${verdictMark('undecided')}</li>
      <li>${verdictMark('quality_artefact')}</li>
      <li><b class="letter">A</b>annotation</li>
      <li><b class="letter accent">D</b>decision</li>
      ${rule.length ? html`<li class="quiet">Rules: ${rule.join('; ')}</li>` : nothing}
    </ul>`
  }

  private list(): TemplateResult {
    const { signals = [], annotations = [], decisions = [] } = this.happenings.data ?? {}
    return html`<div class="columns">
      <section aria-labelledby="kpi-signals">
        <h2 id="kpi-signals">Signals of this series</h2>
        ${signals.length
          ? html`<ul class="rows">
              ${signals.slice(0, 12).map(
                (each) => html`<li>
                  <a href=${href(['signals', each.id])}>${verdictMark(each.verdict)}</a>
                  <span>${each.reason}</span><span class="quiet">${time(each.event_at)}</span>
                </li>`,
              )}
            </ul>`
          : empty('None', 'This series has kept within its limits.')}
      </section>
      <section aria-labelledby="kpi-remarks">
        <h2 id="kpi-remarks">Annotations and decisions</h2>
        <ul class="rows">
          ${annotations.map(
            (each) => html`<li><b class="letter">A</b><span>${each.text}</span><span class="quiet">${each.author}, ${time(each.at)}</span></li>`,
          )}
          ${decisions.map(
            (each) => html`<li>
              <b class="letter accent">D</b><a href=${href(['decisions', each.id])}>${each.title}</a>
              <span class="quiet">${each.decided_by}, ${instant(each.decided_at)}</span>
            </li>`,
          )}
        </ul>
        <sx-annotate .kpi=${this.kpi} .series=${this.address().series} @done=${() => void this.happenings.reload()}></sx-annotate>
      </section>
    </div>`
  }

  private definition(detail: KpiDetail): TemplateResult {
    return html`<details class="definition">
      <summary>Definition (version ${detail.version})</summary>
      <dl>
        <dt>Value</dt><dd><code>${detail.value}</code></dd>
        ${detail.where ? html`<dt>Where</dt><dd><code>${detail.where}</code></dd>` : nothing}
        <dt>Window</dt><dd>${detail.window.kind}, ${words(JSON.stringify(detail.definition['window'] ?? ''))}</dd>
        <dt>By</dt><dd>${detail.by.join(', ') || 'nothing: one series'}</dd>
        <dt>Owner</dt><dd>${words(detail.owner)}</dd>
        <dt>Purpose</dt><dd>${detail.purpose}</dd>
        <dt>Engine</dt><dd>${detail.engine === 'flink' ? 'a Flink job' : 'the detector'}</dd>
        <dt>Parity</dt><dd>${parityMark(detail.parity)}</dd>
      </dl>
    </details>`
  }

  private address(): Address {
    const { query } = route()
    const first = this.detail.data?.latest[0]?.series_key ?? ''
    return {
      series: query.get('series') ?? first,
      range: query.get('range') ?? '7d',
      from: query.get('from'),
      to: query.get('to'),
      asOf: query.get('as_of'),
    }
  }

  private query(): Parameters<typeof listObservations>[1] {
    const { series, range, from, to, asOf } = this.address()
    const days = RANGES.find((each) => each.id === range)?.days ?? null
    const newest = this.detail.data?.freshness.last_window_end
    // Ranges count back from the newest window: in a replay that is not today.
    const start = from ?? (to || !newest || days === null ? null : new Date(Date.parse(newest) - days * DAY_MS).toISOString())
    return { series, from: start, to, as_of: asOf, limit: MOST_WINDOWS }
  }

  private loadSeries(): void {
    if (!this.detail.data) return
    const { series, range, from, to, asOf } = this.address()
    const wanted = JSON.stringify([this.kpi, series, range, from, to, asOf])
    if (wanted === this.loadedFor) return
    if (this.loadedFor) this.following.leaveAll()
    this.loadedFor = wanted
    void this.page.reload()
    void this.happenings.reload()
  }

  private async readHappenings(signal: AbortSignal): Promise<Happenings> {
    const { series, asOf } = this.address()
    const [signals, annotations, decisions] = await Promise.all([
      listSignals({ kpi: this.kpi, limit: 500 }, signal),
      listAnnotations(this.kpi, signal),
      listDecisions({ kpi: this.kpi }, signal),
    ])
    const until = asOf === null ? Infinity : Date.parse(asOf)
    const known = (moment: string): boolean => Date.parse(moment) <= until
    const mine = signals.items.filter((each) => each.series_key === series && known(each.detected_at))
    const ids = new Set(mine.map((each) => each.id))
    return {
      // What was known of a signal then may not be what is known now.
      signals: await Promise.all(
        mine.map(async (each) => (known(each.recorded_at) ? each : (await explainSignal(each.id, asOf, signal)).signal)),
      ),
      annotations: annotations.items.filter((each) => (each.series_key === null || each.series_key === series) && known(each.recorded_at)),
      decisions: decisions.items.filter((each) => each.signal !== null && ids.has(each.signal) && known(each.decided_at)),
    }
  }

  private follow(page: ObservationPage): void {
    const { to, asOf } = this.address()
    if (!page.stream || to || asOf) return
    this.following.on(
      page.stream.channel,
      page.stream.cursor,
      { onFrame: (frame) => this.take(frame.data as Observation), onGap: () => void this.page.reload() },
      FRAMES_A_SECOND,
    )
  }

  private take(observation: Observation): void {
    const page = this.page.data
    if (!page || observation.series_key !== this.address().series) return
    const known = page.items.some((each) => Date.parse(each.window_start) === Date.parse(observation.window_start))
    page.items = [observation, ...page.items]
    this.soon()
    if (known || this.refresh) return
    this.refresh = window.setTimeout(() => {
      this.refresh = 0
      void this.page.reload()
      void this.happenings.reload()
    }, REFRESH_MS)
  }
}
