import { html, nothing, type TemplateResult } from 'lit'
import { customElement } from 'lit/decorators.js'
import { type Decision, listDecisions, listKpis } from '../api.ts'
import { instant, words } from '../format.ts'
import { Following } from '../live.ts'
import { Load } from '../load.ts'
import { Pages } from '../pages.ts'
import { adjust, href, route } from '../router.ts'
import { empty, loaded } from '../states.ts'
import { View } from '../view.ts'

const RELOAD_MS = 1500

/** Every decision: what was chosen, on what, by whom. Each leads to what its maker saw. */
@customElement('sx-decisions')
export class Decisions extends View {
  private asked: string | null = null
  private readonly following = new Following(this)
  private readonly kpis = new Load(this, listKpis)
  private readonly list = new Pages(this, (token, signal) => listDecisions({ kpi: this.kpi(), page_token: token }, signal))

  override connectedCallback(): void {
    super.connectedCallback()
    window.addEventListener('hashchange', this.addressChanged)
    void this.kpis.reload()
    this.addressChanged()
    const again = (): void => this.list.first.reloadSoon(RELOAD_MS)
    this.following.on('actions', null, { onFrame: again, onGap: again }, 1)
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    window.removeEventListener('hashchange', this.addressChanged)
  }

  protected override render(): TemplateResult {
    const chosen = this.kpi() ?? ''
    return html`<div class="page-head"><h1>Decisions</h1></div>
      <div class="controls">
        <label>KPI
          <select @change=${(event: Event) => adjust({ kpi: (event.target as HTMLSelectElement).value || null })}>
            <option value="" ?selected=${chosen === ''}>all</option>
            ${(this.kpis.data?.items ?? []).map((each) => html`<option value=${each.id} ?selected=${each.id === chosen}>${each.title}</option>`)}
          </select></label>
        ${chosen ? html`<button type="button" class="plain" @click=${() => adjust({ kpi: null })}>Clear filter</button>` : nothing}
      </div>
      ${loaded(this.list.first, 6, () => this.table(this.list.items))}`
  }

  private table(items: Decision[]): TemplateResult {
    if (!items.length) {
      return empty(
        'No decisions yet',
        this.kpi() ? 'None on this KPI.' : html`A decision is recorded on a signal: open one of the <a href=${href(['signals'], { state: 'open' })}>open signals</a>.`,
      )
    }
    return html`<div class="cards-on-narrow">
        <table class="list">
          <thead>
            <tr><th scope="col">Decision</th><th scope="col">Choice</th><th scope="col">Expected effect</th><th scope="col">On</th><th scope="col">By</th></tr>
          </thead>
          <tbody>${items.map((each) => this.row(each))}</tbody>
        </table>
      </div>
      ${this.list.moreButton('Older decisions')}`
  }

  private row(decision: Decision): TemplateResult {
    const kpi = this.kpis.data?.items.find((each) => each.id === decision.kpi)
    const subject = kpi?.title ?? words(decision.kpi ?? 'no KPI')
    return html`<tr>
      <td data-label="Decision" class="what"><a href=${href(['decisions', decision.id])}>${decision.title}</a></td>
      <td data-label="Choice">${decision.choice}</td>
      <td data-label="Expected">${decision.expected || html`<span class="quiet">not stated</span>`}</td>
      <td data-label="On">${decision.signal ? html`<a href=${href(['signals', decision.signal])}>${subject}</a>` : subject}</td>
      <td data-label="By"><span>${decision.decided_by}</span> <span class="quiet">${instant(decision.decided_at)}</span></td>
    </tr>`
  }

  private kpi(): string | null {
    return route().query.get('kpi')
  }

  private readonly addressChanged = (): void => {
    const asked = this.kpi() ?? ''
    if (asked === this.asked) return
    this.asked = asked
    this.list.restart()
  }
}
