import { html, nothing, type TemplateResult } from 'lit'
import { customElement } from 'lit/decorators.js'
import { type AuditItem, type ChainVerdict, listAudit, verifyAudit } from '../api.ts'
import { instant, integer } from '../format.ts'
import { Load } from '../load.ts'
import { count, mark } from '../marks.ts'
import { Pages } from '../pages.ts'
import { adjust, route } from '../router.ts'
import { session } from '../session.ts'
import { empty, failure, loaded } from '../states.ts'
import { View } from '../view.ts'

const FILTERS = [
  { name: 'actor', title: 'Person', hint: 'ana' },
  { name: 'action', title: 'Action', hint: 'read explain' },
  { name: 'resource', title: 'Resource begins with', hint: 'signals/' },
] as const
const OUTCOMES = { done: 'good', refused: 'warning', failed: 'bad' }
/** How many faults of a broken chain are listed. */
const FAULTS = 20

/** Who read classified data and who changed what, in a chain whose every link can be checked. */
@customElement('sx-audit')
export class Audit extends View {
  private asked = ''
  private readonly chain = new Load<ChainVerdict>(this, verifyAudit)
  private readonly list = new Pages(this, (token, signal) => listAudit({ ...this.filters(), page_token: token }, signal))

  override connectedCallback(): void {
    super.connectedCallback()
    if (!session.may('audit')) return
    window.addEventListener('hashchange', this.addressChanged)
    void this.chain.reload()
    this.addressChanged()
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    window.removeEventListener('hashchange', this.addressChanged)
  }

  protected override render(): TemplateResult {
    if (!session.may('audit')) {
      return html`<div class="page-head"><h1>Audit</h1></div>
        ${empty('Not for your role', session.reasonAgainst('audit'))}`
    }
    return html`<div class="page-head"><h1>Audit</h1></div>
      <section class="card" aria-label="The chain">${this.verdict()}</section>
      <section aria-label="Entries">
        ${this.filterBar()} ${loaded(this.list.first, 10, () => this.table(this.list.items))}
      </section>`
  }

  private verdict(): TemplateResult {
    const { data, problem, loading } = this.chain
    const again = html`<button type="button" ?disabled=${loading} @click=${() => void this.chain.reload()}>
      ${loading ? 'Hashing every entry …' : 'Verify the chain'}
    </button>`
    if (!data) return html`<div class="chain">${problem ? failure(problem) : html`<p role="status">Every entry is being hashed again …</p>`}${again}</div>`
    return html`<div class="chain">
        <p role="status">
          ${data.intact
            ? mark('good', html`<strong>The chain is intact.</strong> ${count(data.entries, 'entry', 'entries')} hashed again, each linked to the one before`)
            : mark('bad', html`<strong>The chain is broken:</strong> ${count(data.faults.length, 'fault')} in ${count(data.entries, 'entry', 'entries')}`)}
        </p>
        ${again}
      </div>
      ${problem ? failure(problem) : nothing}
      ${data.faults.length
        ? html`<ul class="rows">
            ${data.faults.slice(0, FAULTS).map((each) => html`<li>${mark('bad', each.kind)}<span>${each.message}</span><span class="quiet">${each.seq === null ? '' : `entry ${each.seq}`}</span></li>`)}
            ${data.faults.length > FAULTS ? html`<li class="quiet">and ${data.faults.length - FAULTS} more</li>` : nothing}
          </ul>`
        : nothing}
      <p class="quiet hash">
        Head: entry ${integer(data.head_seq)}, <code>${data.head_hash}</code>. ${count(data.anchors, 'head')} kept outside compared.
      </p>`
  }

  private filterBar(): TemplateResult {
    const filters = this.filters()
    return html`<form class="controls" @submit=${(event: Event) => event.preventDefault()}>
      ${FILTERS.map(
        ({ name, title, hint }) => html`<label>${title}
          <input name=${name} placeholder=${hint} autocomplete="off" .value=${filters[name] ?? ''} @change=${this.choose(name)} /></label>`,
      )}
      ${Object.values(filters).some(Boolean)
        ? html`<button type="button" class="plain" @click=${() => adjust({ actor: null, action: null, resource: null })}>Clear filters</button>`
        : nothing}
      <button type="button" class="plain" ?disabled=${this.list.first.loading} @click=${() => void this.list.first.reload()}>Reload</button>
    </form>`
  }

  private table(items: AuditItem[]): TemplateResult {
    if (!items.length) {
      return empty('No entries', Object.values(this.filters()).some(Boolean) ? 'None that match these filters.' : 'Nothing classified was read and nothing was written yet.')
    }
    return html`<div class="cards-on-narrow">
        <table class="list">
          <thead>
            <tr>
              <th scope="col" class="number">Entry</th><th scope="col">When (UTC)</th><th scope="col">Who</th><th scope="col">Action</th>
              <th scope="col">Resource</th><th scope="col">Outcome</th><th scope="col">Classes, masked</th><th scope="col">Details</th>
            </tr>
          </thead>
          <tbody>${items.map((each) => this.row(each))}</tbody>
        </table>
      </div>
      ${this.list.moreButton('Older entries')}`
  }

  private row(entry: AuditItem): TemplateResult {
    return html`<tr>
      <td data-label="Entry" class="number">${entry.seq}</td>
      <td data-label="When">${instant(entry.at)}</td>
      <td data-label="Who"><span>${entry.actor}</span> <span class="quiet">${entry.roles.join(', ')}</span></td>
      <td data-label="Action">${entry.action}</td>
      <td data-label="Resource" class="breaks">${entry.resource}</td>
      <td data-label="Outcome">${mark(OUTCOMES[entry.outcome], entry.outcome)}</td>
      <td data-label="Classes"><span>${entry.classifications.join(', ') || '—'}</span>${entry.masked.length ? html` <span class="quiet">masked: ${entry.masked.join(', ')}</span>` : nothing}</td>
      <td data-label="Details">
        <details>
          <summary>Show<span class="sr-only"> entry ${entry.seq}</span></summary>
          <dl class="hash">
            <dt>Hash</dt><dd><code>${entry.hash}</code></dd>
            <dt>Before</dt><dd><code>${entry.previous_hash}</code></dd>
            <dt>Trace</dt><dd>${entry.trace_id ? html`<code>${entry.trace_id}</code>` : 'none'}</dd>
            ${Object.entries(entry.details).map(([name, value]) => html`<dt>${name}</dt><dd>${typeof value === 'string' ? value : JSON.stringify(value)}</dd>`)}
          </dl>
        </details>
      </td>
    </tr>`
  }

  private filters(): Record<(typeof FILTERS)[number]['name'], string | null> {
    const { query } = route()
    return { actor: query.get('actor'), action: query.get('action'), resource: query.get('resource') }
  }

  private choose(name: string): (event: Event) => void {
    return (event) => adjust({ [name]: (event.target as HTMLInputElement).value.trim() || null })
  }

  private readonly addressChanged = (): void => {
    const asked = JSON.stringify(this.filters())
    if (asked === this.asked) return
    this.asked = asked
    this.list.restart()
  }
}
