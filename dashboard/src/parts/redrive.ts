import { html, nothing, type TemplateResult } from 'lit'
import { customElement, property, state } from 'lit/decorators.js'
import { commandRedrive, type Redrive, readRedrive } from '../api.ts'
import { instant, integer } from '../format.ts'
import { Problem } from '../http.ts'
import { Load } from '../load.ts'
import { mark } from '../marks.ts'
import { counts, onward, share, underWay, waits } from '../redrive.ts'
import { failure, loaded } from '../states.ts'
import { View } from '../view.ts'

const LOOK_MS = 1000
const MARKS = { done: 'good', failed: 'bad', cancelled: 'off' } as const

/** One re-drive: how it goes, why letters are left, and the word that it waits for. */
@customElement('sx-redrive')
export class RedriveCard extends View {
  @property() redrive = ''
  @state() private problem: Problem | undefined
  @state() private busy = false
  private readonly found = new Load(
    this,
    (signal) => readRedrive(this.redrive, signal),
    (redrive) => this.settle(redrive),
  )

  override connectedCallback(): void {
    super.connectedCallback()
    void this.found.reload()
  }

  protected override render(): TemplateResult {
    return html`<article class="card" aria-label="Re-drive">${loaded(this.found, 2, (redrive) => this.card(redrive))}</article>`
  }

  private card(redrive: Redrive): TemplateResult {
    const { state, source, failures, note } = redrive
    const next = onward(redrive)
    return html`<p class="facts">
        ${mark(MARKS[state as keyof typeof MARKS] ?? (waits(state) ? 'warning' : 'fresh'), state)} <span>${source}</span>
        <span class="quiet">ordered by ${redrive.by}, ${instant(redrive.ordered_at)}</span>
      </p>
      ${underWay(state) ? html`<progress aria-label="Progress of the re-drive" max="1" .value=${share(redrive)}></progress>` : nothing}
      <p role="status">${counts(redrive)}</p>
      ${failures.length
        ? html`<ul>
            ${failures.map((each) => html`<li class="breaks">${integer(each.letters)} × ${each.field ? html`<code>${each.field}</code> ` : nothing}${each.rule ?? each.code}</li>`)}
          </ul>`
        : nothing}
      ${note ? html`<p>${note}</p>` : nothing}
      <p class="buttons">
        ${next ? html`<button type="button" class="primary" ?disabled=${this.busy} @click=${() => void this.give('go')}>${next}</button>` : nothing}
        ${state === 'canary' || state === 'running'
          ? html`<button type="button" ?disabled=${this.busy} @click=${() => void this.give('pause')}>Pause</button>`
          : nothing}
        ${underWay(state) || waits(state)
          ? html`<button type="button" ?disabled=${this.busy} title="What is published stays" @click=${() => void this.give('cancel')}>Cancel</button>`
          : nothing}
      </p>
      ${this.problem ? failure(this.problem) : nothing}`
  }

  private settle({ state }: Redrive): void {
    if (underWay(state)) this.found.reloadSoon(LOOK_MS)
    else this.dispatchEvent(new Event('settled'))
  }

  private async give(command: 'go' | 'pause' | 'cancel'): Promise<void> {
    this.busy = true
    this.problem = undefined
    try {
      await commandRedrive(this.redrive, command)
      await this.found.reload()
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      this.problem = error
    } finally {
      this.busy = false
    }
  }
}
