import { html, nothing, type TemplateResult } from 'lit'
import { customElement, property, state } from 'lit/decorators.js'
import { annotate } from '../api.ts'
import { Problem } from '../http.ts'
import { session } from '../session.ts'
import { failure } from '../states.ts'
import { View } from '../view.ts'
import { fromField } from './range-bar.ts'

/** A remark on the chart, for everybody who sees it. */
@customElement('sx-annotate')
export class Annotate extends View {
  @property() kpi = ''
  @property() series = ''
  @state() private problem: Problem | undefined
  @state() private busy = false

  protected override render(): TemplateResult {
    const reason = session.reasonAgainst('annotate')
    return html`<details class="form">
      <summary>Add an annotation</summary>
      <form @submit=${this.submit}>
        <fieldset ?disabled=${Boolean(reason) || this.busy}>
          <label>At (UTC, event time) <input name="at" type="datetime-local" required /></label>
          <label>Text <input name="text" required maxlength="2000" /></label>
          <button type="submit">Annotate</button>
        </fieldset>
        ${reason ? html`<p class="reason">${reason}</p>` : nothing} ${this.problem ? failure(this.problem) : nothing}
      </form>
    </details>`
  }

  private readonly submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault()
    const form = event.target as HTMLFormElement
    const fields = new FormData(form)
    this.busy = true
    this.problem = undefined
    try {
      await annotate({
        kpi: this.kpi,
        series_key: this.series,
        at: fromField(String(fields.get('at'))) ?? '',
        until: null,
        text: String(fields.get('text')),
      })
      form.reset()
      this.dispatchEvent(new Event('done'))
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      this.problem = error
    } finally {
      this.busy = false
    }
  }
}
