import { html, nothing, type TemplateResult } from 'lit'
import { customElement, property, state } from 'lit/decorators.js'
import { commandRedrive, type Redrive, type RedriveCommand, readRedrive } from '../api.ts'
import { instant, integer } from '../format.ts'
import { Problem } from '../http.ts'
import { Load } from '../load.ts'
import { count, mark } from '../marks.ts'
import { counts, drives, onward, share, underWay, undoable, waits } from '../redrive.ts'
import { failure, loaded } from '../states.ts'
import { View } from '../view.ts'

const LOOK_MS = 1000
const MARKS = { done: 'good', failed: 'bad', cancelled: 'off', undone: 'off' } as const

/** One re-drive: how it goes, why letters are left, the word that it waits for, and the way back. */
@customElement('sx-redrive')
export class RedriveCard extends View {
  @property() redrive = ''
  @state() private problem: Problem | undefined
  @state() private busy = false
  @state() private asked = false
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
    const back = undoable(redrive)
    return html`<p class="facts">
        ${mark(MARKS[state as keyof typeof MARKS] ?? (waits(state) ? 'warning' : 'fresh'), state)} <span>${source}</span>
        <span class="quiet">ordered by ${redrive.by}, ${instant(redrive.ordered_at)}</span>
        ${redrive.undone_by ? html`<span class="quiet">undone by ${redrive.undone_by}, ${instant(redrive.changed_at)}</span>` : nothing}
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
        ${drives(state) || waits(state)
          ? html`<button type="button" ?disabled=${this.busy} title="What is published stays" @click=${() => void this.give('cancel')}>Cancel</button>`
          : nothing}
        ${back
          ? html`<button type="button" aria-expanded=${this.asked} ?disabled=${this.busy} @click=${() => (this.asked = !this.asked)}>Undo</button>`
          : nothing}
      </p>
      ${back && this.asked ? this.undo(redrive) : nothing}
      ${this.problem ? failure(this.problem) : nothing}`
  }

  private undo({ published, waiting }: Redrive): TemplateResult {
    return html`<p>
        The events of this re-drive leave the archive, and the KPIs that counted them are computed again. The letters can then be
        driven by another.${waiting ? ` The ${integer(waiting)} that wait are not driven.` : nothing}
      </p>
      <p class="buttons">
        <button type="button" class="primary" ?disabled=${this.busy} @click=${() => void this.give('undo')}>Take back ${count(published, 'event')}</button>
      </p>`
  }

  private settle({ state }: Redrive): void {
    if (underWay(state)) this.found.reloadSoon(LOOK_MS)
    else this.dispatchEvent(new Event('settled'))
  }

  private async give(command: RedriveCommand): Promise<void> {
    this.busy = true
    this.asked = false
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
