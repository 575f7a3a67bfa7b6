import { html, nothing, type TemplateResult } from 'lit'
import { customElement, property, state } from 'lit/decorators.js'
import { type PlaybookRun, tickStep } from '../api.ts'
import { instant } from '../format.ts'
import { Problem } from '../http.ts'
import { session } from '../session.ts'
import { failure } from '../states.ts'
import { View } from '../view.ts'

interface Step {
  id: string
  title: string
  instruction?: string
  done?: boolean
  done_at?: string | null
  done_by?: string | null
  by?: string | null
  at?: string | null
  note?: string | null
}

/** The playbook that the signal opened: its steps, each ticked by somebody, with a note. */
@customElement('sx-playbook')
export class Playbook extends View {
  @property({ attribute: false }) run!: PlaybookRun
  @state() private problem: Problem | undefined
  @state() private busy = ''

  protected override render(): TemplateResult {
    const { run } = this
    const steps = run.steps as unknown as Step[]
    const done = steps.filter((step) => step.done).length
    const reason = session.may('acknowledge') || session.may('decide') ? '' : session.reasonAgainst('acknowledge')
    return html`<section class="card" aria-label="Playbook ${run.title ?? run.playbook}">
      <h3>${run.title ?? run.playbook} <span class="quiet">playbook, ${run.state}, ${done} of ${steps.length} steps</span></h3>
      <ol class="steps">
        ${steps.map(
          (step) => html`<li class=${step.done ? 'done' : ''}>
            <label>
              <input type="checkbox" .checked=${Boolean(step.done)} ?disabled=${Boolean(reason) || this.busy === step.id} @change=${this.ticked(step)} />
              <span>${step.title}</span>
            </label>
            ${step.instruction ? html`<p class="quiet">${step.instruction}</p>` : nothing}
            ${step.done ? html`<p class="quiet">${[step.done_by ?? step.by, instant(step.done_at ?? step.at)].filter((each) => each && each !== '—').join(', ')}${step.note ? `: ${step.note}` : ''}</p>` : nothing}
          </li>`,
        )}
      </ol>
      ${reason ? html`<p class="reason">${reason}</p>` : nothing} ${this.problem ? failure(this.problem) : nothing}
    </section>`
  }

  private ticked(step: Step): (event: Event) => Promise<void> {
    return async (event) => {
      const box = event.target as HTMLInputElement
      this.busy = step.id
      this.problem = undefined
      try {
        await tickStep(this.run.id, step.id, box.checked, '')
        this.dispatchEvent(new Event('done'))
      } catch (error) {
        if (!(error instanceof Problem)) throw error
        // What is not recorded must not look done.
        box.checked = !box.checked
        this.problem = error
      } finally {
        this.busy = ''
      }
    }
  }
}
