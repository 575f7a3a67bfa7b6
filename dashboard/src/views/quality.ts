import { html, nothing, type TemplateResult } from 'lit'
import { customElement } from 'lit/decorators.js'
import { listIncidents, listSources, type Source } from '../api.ts'
import { ago, duration, instant, integer, time, words } from '../format.ts'
import { Following, live, present } from '../live.ts'
import { Load } from '../load.ts'
import { count, mark, qualityTriple } from '../marks.ts'
import { Pages } from '../pages.ts'
import { adjust, href, route } from '../router.ts'
import { empty, loaded } from '../states.ts'
import { View } from '../view.ts'
import '../parts/dead-letters.ts'
import '../parts/incident.ts'

const RELOAD_MS = 2000
/** The books have no channel of their own. */
const BOOKS_EVERY_MS = 10_000
const STATES = ['open', 'acknowledged', 'resolved']

/** Whether the data can be trusted: each source's health and books, what is wrong, what could not be used. */
@customElement('sx-quality')
export class Quality extends View {
  private asked: string | null = null
  private slow = 0
  private readonly following = new Following(this)
  private readonly sources = new Load(this, listSources)
  private readonly incidents = new Pages(
    this,
    (token, signal) => listIncidents({ state: this.state(), page_token: token }, signal),
    ({ stream }) => {
      if (!stream) return
      const again = (): void => this.incidents.first.reloadSoon(RELOAD_MS)
      this.following.on(stream.channel, stream.cursor, { onFrame: again, onGap: again }, 1)
    },
  )

  override connectedCallback(): void {
    super.connectedCallback()
    window.addEventListener('hashchange', this.addressChanged)
    void this.sources.reload()
    const again = (): void => this.sources.reloadSoon(RELOAD_MS)
    this.following.on('health', null, { onFrame: again, onGap: again }, 1)
    this.slow = window.setInterval(() => {
      if (!document.hidden && live.pausedAt === null) void this.sources.reload()
    }, BOOKS_EVERY_MS)
    this.addressChanged()
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    window.removeEventListener('hashchange', this.addressChanged)
    clearInterval(this.slow)
  }

  protected override render(): TemplateResult {
    return html`
      <div class="page-head"><h1>Quality</h1></div>
      <section aria-labelledby="sources-title">
        <h2 id="sources-title">Sources</h2>
        ${loaded(this.sources, 5, ({ items }) =>
          items.length ? this.table(items) : empty('No sources yet', html`Add one to the workspace and run <code>sextant apply</code>.`),
        )}
      </section>
      <section aria-labelledby="incidents-title">
        <div class="section-head">
          <h2 id="incidents-title">Incidents</h2>
          <div class="segments" role="group" aria-label="State of the incidents">
            ${[null, ...STATES].map(
              (each) => html`<button type="button" aria-pressed=${each === this.state()} @click=${() => adjust({ state: each })}>${each ?? 'all'}</button>`,
            )}
          </div>
        </div>
        ${loaded(this.incidents.first, 3, () =>
          this.incidents.items.length
            ? html`<div class="incidents">
                  ${this.incidents.items.map((each) => html`<sx-incident .incident=${each} @done=${() => void this.incidents.first.reload()}></sx-incident>`)}
                </div>
                ${this.incidents.moreButton('Older incidents')}`
            : empty('No incidents', this.state() ? 'None in this state.' : 'No rule was broken more often than it allows, no source has fallen silent, and no sample held personal data.'),
        )}
      </section>
      <section aria-labelledby="letters-title">
        <h2 id="letters-title">Dead letters</h2>
        <sx-dead-letters></sx-dead-letters>
      </section>
    `
  }

  private table(items: Source[]): TemplateResult {
    const streams = [...items].sort((a, b) => Number(a.reference) - Number(b.reference) || a.title.localeCompare(b.title))
    return html`<div class="cards-on-narrow wide-table">
        <table class="list books">
          <thead>
            <tr>
              <th scope="col">Source</th><th scope="col">Health</th><th scope="col">Freshness</th>
              <th scope="col" class="number">Accepted</th><th scope="col" class="number">Landed</th>
              <th scope="col" class="number">Dead letters</th><th scope="col" class="number">Duplicates</th>
              <th scope="col" class="number">In flight</th><th scope="col" class="number">Parked</th>
              <th scope="col" class="number">Erased</th><th scope="col">Balance</th>
            </tr>
          </thead>
          <tbody>${streams.map((each) => this.row(each))}</tbody>
        </table>
      </div>
      <p class="quiet note">Accepted = landed + dead letters + duplicates + in flight + parked + erased: nothing is lost in silence.</p>`
  }

  private row(source: Source): TemplateResult {
    const { health, books } = source
    const figure = (name: string, value: number | undefined): TemplateResult =>
      html`<td class="number" data-label=${name}>${value === undefined ? '—' : integer(value)}</td>`
    return html`<tr>
      <td data-label="Source" class="what">
        <strong><a href=${href(['quality', source.id])}>${source.title}</a></strong>
        <span class="quiet">${words(source.owner)}${source.open_incidents ? html`, ${count(source.open_incidents, 'open incident')}` : nothing}</span>
      </td>
      <td data-label="Health">
        ${health
          ? qualityTriple({ score: health.score, assessedShare: health.assessed_share, worst: health.worst })
          : html`<span class="quiet">${source.reference ? 'reference data' : 'not assessed yet'}</span>`}
      </td>
      <td data-label="Freshness">${this.fresh(source)}</td>
      ${figure('Accepted', books?.accepted)} ${figure('Landed', books?.landed)} ${figure('Dead letters', books?.dead_lettered)}
      ${figure('Duplicates', books?.duplicate)} ${figure('In flight', books?.in_flight)}
      ${figure('Parked', books?.parked)} ${figure('Erased', books?.erased)}
      <td data-label="Balance">
        ${books ? (books.imbalance === 0 ? mark('good', 'balanced') : mark('bad', `out by ${integer(books.imbalance)}`)) : mark('unknown', 'no books')}
      </td>
    </tr>`
  }

  private fresh({ health, expect_every_seconds: promised, reference }: Source): TemplateResult {
    const says = promised === null ? 'promises no pace' : `promised every ${duration(promised * 1000)}`
    if (!health) return html`<span class="quiet">${reference ? '—' : says}</span>`
    const last = health.last_arrival_at
    const text = html`<span title="last arrival ${instant(last)}">${last ? `last arrival ${ago(last, present())}` : 'nothing has arrived'}</span>`
    const state = live.lostAt !== null ? 'off' : health.fresh === null ? 'unknown' : health.fresh ? 'fresh' : 'stale'
    return html`${mark(state, text)} <span class="quiet">${says}; event time ${time(health.last_event_at)}</span>`
  }

  private state(): string | null {
    return route().query.get('state')
  }

  private readonly addressChanged = (): void => {
    const asked = this.state() ?? ''
    if (asked === this.asked) return
    this.asked = asked
    this.incidents.restart()
  }
}
