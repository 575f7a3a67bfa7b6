import { html, nothing, type TemplateResult } from 'lit'
import { customElement } from 'lit/decorators.js'
import { listKpis, listSignals, type Signal } from '../api.ts'
import { ago, figureText, seriesName, time, words } from '../format.ts'
import { Following, present } from '../live.ts'
import { Load } from '../load.ts'
import { count, severityMark, VERDICTS, verdictMark } from '../marks.ts'
import { loopDots } from '../parts/loop.ts'
import { Pages } from '../pages.ts'
import { adjust, href, route } from '../router.ts'
import { empty, loaded } from '../states.ts'
import { View } from '../view.ts'

const PAGE = 100
const RELOAD_MS = 1500

/** Every signal with what it is, how grave, whose, and how far round the loop. */
@customElement('sx-signals')
export class Signals extends View {
  private asked = ''
  private readonly following = new Following(this)
  private readonly kpis = new Load(this, listKpis)
  private readonly list = new Pages(
    this,
    (token, signal) => listSignals({ ...this.filters(), page_token: token, limit: PAGE }, signal),
    ({ stream }) => {
      if (stream) this.following.on(stream.channel, stream.cursor, { onFrame: this.changed, onGap: () => void this.list.first.reload() }, 2)
    },
  )

  override connectedCallback(): void {
    super.connectedCallback()
    window.addEventListener('hashchange', this.addressChanged)
    void this.kpis.reload()
    this.addressChanged()
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    window.removeEventListener('hashchange', this.addressChanged)
  }

  protected override render(): TemplateResult {
    return html`<div class="page-head"><h1>Signals</h1></div>
      ${this.filterBar()} ${loaded(this.list.first, 10, () => this.table(this.list.items))}`
  }

  private filterBar(): TemplateResult {
    const { state, verdict, kpi } = this.filters()
    const option = (value: string, text: string, chosen: string | null) =>
      html`<option value=${value} ?selected=${value === (chosen ?? '')}>${text}</option>`
    return html`<div class="controls">
      <label>State
        <select @change=${this.choose('state')}>
          ${option('', 'open and closed', state)} ${option('open', 'open', state)} ${option('closed', 'closed', state)}
        </select></label>
      <label>Verdict
        <select @change=${this.choose('verdict')}>
          ${option('', 'any', verdict)} ${Object.entries(VERDICTS).map(([id, { text }]) => option(id, text, verdict))}
        </select></label>
      <label>KPI
        <select @change=${this.choose('kpi')}>
          ${option('', 'all', kpi)} ${(this.kpis.data?.items ?? []).map((each) => option(each.id, each.title, kpi))}
        </select></label>
      ${state || verdict || kpi
        ? html`<button type="button" class="plain" @click=${() => adjust({ state: null, verdict: null, kpi: null })}>Clear filters</button>`
        : nothing}
    </div>`
  }

  private table(items: Signal[]): TemplateResult {
    if (!items.length) {
      return empty('No signals', Object.values(this.filters()).some(Boolean) ? 'None that match these filters.' : 'Every series has kept within its limits.')
    }
    return html`<p class="quiet" role="status">${count(items.length, 'signal')} shown${this.list.complete ? '' : ', older ones below'}</p>
      <div class="cards-on-narrow">
        <table class="list">
          <thead>
            <tr>
              <th scope="col">Verdict</th><th scope="col">Severity</th><th scope="col">What</th><th scope="col" class="number">Value</th>
              <th scope="col">Since</th><th scope="col">Owner</th><th scope="col">Loop</th>
            </tr>
          </thead>
          <tbody>${items.map((each) => this.row(each))}</tbody>
        </table>
      </div>
      ${this.list.moreButton('Older signals')}`
  }

  private row(signal: Signal): TemplateResult {
    const kpi = this.kpis.data?.items.find((each) => each.id === signal.kpi)
    return html`<tr class=${signal.state}>
      <td data-label="Verdict">${verdictMark(signal.verdict)}${signal.state === 'open' ? html` <span class="tag">open</span>` : nothing}</td>
      <td data-label="Severity">${severityMark(signal.severity)}</td>
      <td data-label="What" class="what">
        <a href=${href(['signals', signal.id])}>${kpi?.title ?? words(signal.kpi)}${signal.series_key ? `: ${seriesName(signal.series_key)}` : ''}</a>
        <span class="quiet">${signal.reason}</span>
      </td>
      <td data-label="Value" class="number">${figureText(signal.value, kpi?.unit)}</td>
      <td data-label="Since">
        ${time(signal.first_window)} <span class="quiet">${count(signal.windows, 'window')}, detected ${ago(signal.detected_at, present())}</span>
      </td>
      <td data-label="Owner">${signal.owner ? words(signal.owner) : '—'}</td>
      <td data-label="Loop">${loopDots(signal.loop)}</td>
    </tr>`
  }

  private filters(): { state: string | null; verdict: string | null; kpi: string | null } {
    const { query } = route()
    return { state: query.get('state'), verdict: query.get('verdict'), kpi: query.get('kpi') }
  }

  private choose(name: string): (event: Event) => void {
    return (event) => adjust({ [name]: (event.target as HTMLSelectElement).value || null })
  }

  private readonly addressChanged = (): void => {
    const asked = JSON.stringify(this.filters())
    if (asked === this.asked) return
    this.asked = asked
    this.list.restart()
  }

  private readonly changed = (): void => this.list.first.reloadSoon(RELOAD_MS)
}
