import { html, nothing, type TemplateResult } from 'lit'
import { customElement } from 'lit/decorators.js'
import { type Kpi, type Latest, type Observation, type Signal, listKpis, listObjectives, listSignals, listSources } from '../api.ts'
import { time } from '../format.ts'
import { Following } from '../live.ts'
import { Load } from '../load.ts'
import { count } from '../marks.ts'
import { objectives } from '../parts/objectives.ts'
import { empty, loaded } from '../states.ts'
import { View } from '../view.ts'
import '../parts/tile.ts'

/** A tile shows one value of each series; more than this a second is only work. */
const FRAMES_A_SECOND = 4
const TREND_POINTS = 48
const SIGNALS_MS = 2000
const GRAVITY = ['sustained', 'undecided', 'quality_artefact', 'transient']

/** Everything a leader needs to see first: the objectives, the KPIs, and what is out of its limits. */
@customElement('sx-overview')
export class Overview extends View {
  private readonly following = new Following(this)
  private readonly kpis = new Load(this, listKpis, ({ items }) => this.followAll(items))
  private readonly signals = new Load(
    this,
    (signal) => listSignals({ state: 'open', limit: 500 }, signal),
    ({ stream }) => {
      if (!stream) return
      const reload = () => this.signals.reloadSoon(SIGNALS_MS)
      this.following.on(stream.channel, stream.cursor, { onFrame: reload, onGap: reload }, 1)
    },
  )
  private readonly objectives = new Load(this, listObjectives)
  private readonly sources = new Load(this, listSources)
  private slow = 0

  override connectedCallback(): void {
    super.connectedCallback()
    for (const load of [this.kpis, this.signals, this.objectives, this.sources]) void load.reload()
    // Progress and source health move with windows and minutes, not with events.
    this.slow = window.setInterval(() => {
      if (document.hidden) return
      void this.objectives.reload()
      void this.sources.reload()
    }, 15_000)
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    clearInterval(this.slow)
  }

  protected override render(): TemplateResult {
    return html`
      <h1 class="sr-only">Overview</h1>
      <section aria-labelledby="objectives-title">
        <h2 id="objectives-title">Objectives</h2>
        ${loaded(this.objectives, 3, ({ items }) =>
          items.length
            ? objectives(items, (kpi) => this.unitOf(kpi))
            : empty('No objectives yet', html`Add one to the workspace and run <code>sextant apply</code>.`),
        )}
      </section>
      <section aria-labelledby="kpis-title">
        <div class="section-head">
          <h2 id="kpis-title">Key performance indicators</h2>
          ${this.summary()}
        </div>
        ${loaded(this.kpis, 6, ({ items }) =>
          items.length
            ? html`<div class="tiles">${items.map((kpi) => this.tile(kpi))}</div>`
            : empty('No KPIs that you may see', 'KPIs can be limited to departments.'),
        )}
      </section>
    `
  }

  private tile(kpi: Kpi): TemplateResult {
    const source = this.sources.data?.items.find((each) => each.id === kpi.source)
    const state = { ...kpi, freshness: { ...kpi.freshness, source_fresh: source?.health?.fresh ?? kpi.freshness.source_fresh } }
    return html`<sx-tile
      .kpi=${state}
      .signals=${this.openSignals(kpi.id)}
      .cadence=${source?.expect_every_seconds ?? null}
    ></sx-tile>`
  }

  private summary(): TemplateResult | typeof nothing {
    const items = this.kpis.data?.items
    if (!items?.length) return nothing
    const open = this.signals.data?.items.length ?? 0
    const ends = items.map((kpi) => kpi.freshness.watermark).filter((at): at is string => at !== null)
    const oldest = ends.sort()[0]
    return html`<p class="quiet">
      ${count(items.length, 'KPI')} · ${count(open, 'open signal')}${oldest ? html` · all complete up to ${time(oldest)}` : nothing}
    </p>`
  }

  private openSignals(kpi: string): Signal[] {
    return (this.signals.data?.items ?? [])
      .filter((signal) => signal.kpi === kpi && signal.state === 'open')
      .sort((a, b) => GRAVITY.indexOf(a.verdict) - GRAVITY.indexOf(b.verdict) || b.windows - a.windows)
  }

  private unitOf(id: string): string {
    return this.kpis.data?.items.find((kpi) => kpi.id === id)?.unit ?? ''
  }

  private followAll(items: Kpi[]): void {
    for (const kpi of items) {
      if (!kpi.stream) continue
      this.following.on(
        kpi.stream.channel,
        kpi.stream.cursor,
        {
          onFrame: (frame) => this.take(kpi.id, frame.data as Observation),
          onGap: () => void this.kpis.reload(),
        },
        FRAMES_A_SECOND,
      )
    }
  }

  private take(id: string, observation: Observation): void {
    const list = this.kpis.data
    const at = list?.items.findIndex((kpi) => kpi.id === id) ?? -1
    const kpi = list?.items[at]
    if (!list || !kpi) return
    list.items[at] = withObservation(kpi, observation)
    this.soon()
  }
}

/** The KPI with one more observation: the newest revision of the newest window of each series stands. */
export function withObservation(kpi: Kpi, observation: Observation): Kpi {
  const index = kpi.latest.findIndex((each) => each.series_key === observation.series_key)
  const present = kpi.latest[index]
  if (!present || observation.kpi_version < present.kpi_version) return kpi
  const trend = [...present.trend]
  const point = trend.findLastIndex((each) => Date.parse(each.at) === Date.parse(observation.window_start))
  const value = observation.status === 'retracted' ? null : observation.value
  if (point >= 0) trend[point] = { at: observation.window_start, value }
  const age = Date.parse(observation.window_start) - Date.parse(present.window_start)
  const newer = age > 0 || (age === 0 && observation.revision > present.revision)
  if (point < 0 && age > 0) trend.push({ at: observation.window_start, value })
  const latest = [...kpi.latest]
  const standing: Latest = newer && observation.status !== 'retracted' ? { ...observation, trend } : { ...present, trend }
  standing.trend = standing.trend.slice(-TREND_POINTS)
  latest[index] = standing
  return {
    ...kpi,
    latest,
    freshness: {
      ...kpi.freshness,
      recorded_at: observation.recorded_at,
      watermark: observation.watermark ?? kpi.freshness.watermark,
      // An observation that arrives is proof that the source is not silent.
      source_fresh: true,
    },
  }
}
