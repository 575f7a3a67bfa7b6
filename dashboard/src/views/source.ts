import { html, nothing, type TemplateResult } from 'lit'
import { customElement, property } from 'lit/decorators.js'
import { type Flow, listIncidents, readSource, type SourceDetail } from '../api.ts'
import { errors, path, rhythm, type Word } from '../flow.ts'
import { ago, duration, instant, integer, words } from '../format.ts'
import { Following, live, present } from '../live.ts'
import { Load } from '../load.ts'
import { mark, qualityTriple } from '../marks.ts'
import { href } from '../router.ts'
import { empty, loaded } from '../states.ts'
import { View } from '../view.ts'
import { flowBars } from '../parts/flow-bars.ts'
import '../parts/examples.ts'
import '../parts/incident.ts'

/** What is shown is by the minute, and has no channel of its own. */
const EVERY_MS = 5_000
const RELOAD_MS = 2_000

const said = ({ mark: name, text }: Word): TemplateResult => mark(name, text)

/** One source: how its events arrive, whether the way is whole, what is wrong, and how to send to it. */
@customElement('sx-source')
export class SourceView extends View {
  @property() source = ''
  private timer = 0
  private readonly following = new Following(this)
  private readonly detail = new Load(this, (signal) => readSource(this.source, signal))
  private readonly incidents = new Load(this, (signal) => listIncidents({ source: this.source }, signal))

  override connectedCallback(): void {
    super.connectedCallback()
    void this.detail.reload()
    void this.incidents.reload()
    const again = (): void => this.incidents.reloadSoon(RELOAD_MS)
    this.following.on('incidents', null, { onFrame: again, onGap: again }, 1)
    this.timer = window.setInterval(() => {
      if (!document.hidden && live.pausedAt === null) void this.detail.reload()
    }, EVERY_MS)
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    clearInterval(this.timer)
  }

  protected override render(): TemplateResult {
    const { data } = this.detail
    return html`
      <div class="page-head">
        <div>
          <p class="crumbs"><a href=${href(['quality'])}>Quality</a></p>
          <h1>${data?.title ?? this.source}</h1>
          ${data ? html`<p class="facts">${this.head(data)}</p>` : nothing}
          ${data?.description ? html`<p class="quiet">${data.description}</p>` : nothing}
        </div>
      </div>
      ${loaded(this.detail, 8, (detail) => this.screen(detail))}
    `
  }

  private screen(detail: SourceDetail): TemplateResult {
    return html`
      <section aria-labelledby="arrival-title">
        <h2 id="arrival-title">Arrival</h2>
        ${detail.flow ? this.arrival(detail.flow) : empty('A table of references', 'Its rows come when they change: there is no rhythm to watch.')}
      </section>
      <div class="columns">
        <section aria-labelledby="partitions-title">
          <h2 id="partitions-title">Partitions</h2>
          ${detail.flow?.partitions.length
            ? this.partitions(detail.flow)
            : empty('No partition was heard of', 'With the first event, or ingest’s first heartbeat after half a minute, they are listed.')}
        </section>
        <section aria-labelledby="send-title">
          <h2 id="send-title">Send an event</h2>
          <sx-examples .source=${this.source}></sx-examples>
        </section>
      </div>
      <section class="below-columns" aria-labelledby="source-incidents-title">
        <h2 id="source-incidents-title">Incidents</h2>
        ${loaded(this.incidents, 3, ({ items }) =>
          items.length
            ? html`<div class="incidents">
                ${items.map((each) => html`<sx-incident .incident=${each} @done=${() => void this.incidents.reload()}></sx-incident>`)}
              </div>`
            : empty('No incidents', 'Nothing was wrong with this source so far.'),
        )}
      </section>
    `
  }

  private head({ owner, health, books, expect_every_seconds: promised }: SourceDetail): TemplateResult {
    const last = health?.last_arrival_at ?? null
    return html`
      <span class="quiet">owner ${words(owner)}</span>
      ${health ? qualityTriple({ score: health.score, assessedShare: health.assessed_share, worst: health.worst }) : nothing}
      <span title=${instant(last)}>${last ? `last arrival ${ago(last, present())}` : 'nothing has arrived'}</span>
      ${promised === null ? nothing : html`<span class="quiet">promised every ${duration(promised * 1000)}</span>`}
      ${books ? (books.imbalance === 0 ? mark('good', 'books balanced') : mark('bad', `books out by ${integer(books.imbalance)}`)) : nothing}
    `
  }

  private arrival(flow: Flow): TemplateResult {
    const lag = flow.partitions.reduce((sum, each) => sum + each.lag, 0)
    const rate = flow.partitions.reduce((sum, each) => sum + each.events_per_minute, 0)
    if (!flow.minutes.length && !flow.rhythm) {
      return empty('Nothing has arrived yet', 'With the first events their rate is drawn here, and their rhythm is learned from the second day on.')
    }
    return html`
      <p class="facts">
        <strong>${integer(rate)} in the last minute</strong>
        ${said(rhythm(flow))} ${said(errors(flow.error_share))}
        ${mark(lag ? 'warning' : 'good', lag ? `${integer(lag)} not archived yet` : 'all archived')}
      </p>
      <div class="flow-place">${flow.minutes.length ? flowBars(flow, present()) : empty('Nothing arrived in the last six hours')}</div>
    `
  }

  private partitions({ partitions }: Flow): TemplateResult {
    return html`<div class="cards-on-narrow">
      <table class="list">
        <thead>
          <tr>
            <th scope="col">Partition</th><th scope="col" class="number">Last minute</th><th scope="col" class="number">Lag</th>
            <th scope="col">Last event arrived</th><th scope="col">Way through</th>
          </tr>
        </thead>
        <tbody>
          ${partitions.map(
            (each) => html`<tr>
              <td data-label="Partition">${each.partition}</td>
              <td data-label="Last minute" class="number">${integer(each.events_per_minute)}</td>
              <td data-label="Lag" class="number">${integer(each.lag)}</td>
              <td data-label="Last event arrived" title=${instant(each.last_arrival_at)}>${ago(each.last_arrival_at, present())}</td>
              <td data-label="Way through">${said(path(each, present()))}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>`
  }
}
