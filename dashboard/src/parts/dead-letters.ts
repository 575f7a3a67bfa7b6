import { html, nothing, type TemplateResult } from 'lit'
import { customElement, state } from 'lit/decorators.js'
import { type DeadLetter, listDeadLetters, redrive } from '../api.ts'
import { instant } from '../format.ts'
import { Problem } from '../http.ts'
import { Pages } from '../pages.ts'
import { session } from '../session.ts'
import { empty, failure, loaded } from '../states.ts'
import { View } from '../view.ts'

/** What could not be used, why, and the way to send it in again. */
@customElement('sx-dead-letters')
export class DeadLetters extends View {
  @state() private busy = ''
  @state() private said = ''
  @state() private problem: Problem | undefined
  private readonly list = new Pages(this, (token, signal) => listDeadLetters({ page_token: token }, signal))

  override connectedCallback(): void {
    super.connectedCallback()
    void this.list.first.reload()
  }

  protected override render(): TemplateResult {
    return html`${this.said ? html`<p class="notice" role="status">${this.said}</p>` : nothing}
    ${this.problem ? failure(this.problem) : nothing} ${loaded(this.list.first, 3, () => this.table(this.list.items))}`
  }

  private table(items: DeadLetter[]): TemplateResult {
    if (!items.length) return empty('No dead letters', 'Every record that was accepted could be used.')
    return html`<div class="cards-on-narrow">
        <table class="list">
          <thead>
            <tr>
              <th scope="col">Source</th><th scope="col">Why</th><th scope="col">Field</th><th scope="col">Value</th>
              <th scope="col">Last seen</th><th scope="col">Record</th><th scope="col"><span class="sr-only">Send again</span></th>
            </tr>
          </thead>
          <tbody>${items.map((each) => this.row(each))}</tbody>
        </table>
      </div>
      ${this.list.moreButton('Older dead letters')}`
  }

  private row(letter: DeadLetter): TemplateResult {
    return html`<tr>
      <td data-label="Source"><span>${letter.source}</span> <span class="quiet">${letter.stage}</span></td>
      <td data-label="Why" class="what"><span>${letter.reason}</span>${letter.rule ? html` <span class="quiet">rule ${letter.rule}</span>` : nothing}</td>
      <td data-label="Field">${letter.field ? html`<code>${letter.field}</code>` : '—'}</td>
      <td data-label="Value" class="breaks">${letter.value ?? '—'}</td>
      <td data-label="Last seen"><span>${instant(letter.last_seen)}</span> <span class="quiet">attempt ${letter.attempts}</span></td>
      <td data-label="Record">
        ${letter.payload_hidden
          ? html`<span class="masked" title="It could not be read, so it cannot be masked for your role">hidden</span>`
          : html`<details><summary>Show<span class="sr-only"> the record</span></summary><pre tabindex="0">${typeof letter.payload === 'string' ? letter.payload : JSON.stringify(letter.payload, null, 2)}</pre></details>`}
      </td>
      <td>
        ${session.may('ingest') || session.may('steward')
          ? html`<button type="button" ?disabled=${this.busy !== ''} @click=${() => void this.again(letter)}>${this.busy === letter.id ? 'Sending …' : 'Send again'}</button>`
          : nothing}
      </td>
    </tr>`
  }

  private async again(letter: DeadLetter): Promise<void> {
    this.busy = letter.id
    this.said = ''
    this.problem = undefined
    try {
      const { result } = await redrive({ source: letter.source, ids: [letter.id], reason: null, dry_run: false })
      const figures = Object.entries(result).filter(([, value]) => typeof value === 'number')
      this.said = `Sent again: ${figures.map(([name, value]) => `${name.replace('_', '-')} ${value as number}`).join(', ')}.`
      await this.list.first.reload()
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      this.problem = error
    } finally {
      this.busy = ''
    }
  }
}
