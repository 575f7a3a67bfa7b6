import { html, nothing, type TemplateResult } from 'lit'
import { customElement, property, state } from 'lit/decorators.js'
import { type Incident, type IncidentBody, stepIncident } from '../api.ts'
import { ago, integer, percent, time, words } from '../format.ts'
import { Problem } from '../http.ts'
import { present } from '../live.ts'
import { mark, severityMark } from '../marks.ts'
import { session } from '../session.ts'
import { failure } from '../states.ts'
import { View } from '../view.ts'

type Cause = NonNullable<IncidentBody['cause']>
const CAUSES: Cause[] = [
  'source_outage',
  'source_schema',
  'source_logic',
  'transport',
  'late',
  'clock',
  'unit',
  'reference_data',
  'our_code',
  'our_rule',
  'real_world_change',
]
const STATES = { open: 'bad', acknowledged: 'warning', resolved: 'good' }

/** One incident of a source: what is wrong, whose it is, and the steps to its end. */
@customElement('sx-incident')
export class IncidentCard extends View {
  @property({ attribute: false }) incident!: Incident
  @state() private problem: Problem | undefined
  @state() private busy = false

  protected override render(): TemplateResult {
    const { incident } = this
    const share = incident.assessed ? percent(incident.violations / incident.assessed, 1) : ''
    return html`<article class="card incident" aria-label="Incident: ${incident.summary}">
      <div>
        <p class="facts">
          ${mark(STATES[incident.state], incident.state)} ${severityMark(incident.severity)} <span>${incident.source}</span>
          <span class="quiet">${incident.rule ? words(incident.rule) : incident.kind}</span>
        </p>
        <h3>${incident.summary}</h3>
        <p class="facts quiet">
          ${incident.kind === 'rule' ? html`<span>${integer(incident.violations)} of ${integer(incident.assessed)} events${share ? ` (${share})` : ''}</span>` : nothing}
          <span>opened ${ago(incident.opened_at, present())}</span><span>last seen ${ago(incident.last_seen_at, present())}</span>
          <span>owner ${words(incident.owner)}</span>
          ${incident.assignee ? html`<span>assigned to ${incident.assignee}</span>` : nothing}
          ${incident.cause ? html`<span>cause: ${words(incident.cause)}</span>` : nothing}
        </p>
        ${incident.missing.length ? this.missing(incident) : nothing}
        ${incident.note ? html`<p>${incident.note} <span class="quiet">${incident.by}</span></p>` : nothing}
      </div>
      ${this.steps()} ${this.problem ? failure(this.problem) : nothing}
    </article>`
  }

  /** The first of the records that the books and the archive do not agree on. */
  private missing({ missing }: Incident): TemplateResult {
    return html`<details>
      <summary>${missing.length === 1 ? 'The record' : `${missing.length} records`}, by their places</summary>
      <ul class="missing">
        ${missing.map(
          (each) => html`<li>
            <code>${each.topic}/${each.partition}/${each.offset}</code> ${each.event_id ? html`event ${each.event_id},` : nothing}
            ${words(each.why)}, arrived ${time(each.minute)}
          </li>`,
        )}
      </ul>
    </details>`
  }

  private steps(): TemplateResult {
    const { state } = this.incident
    const reason = session.may('acknowledge') || session.may('steward') ? '' : session.reasonAgainst('acknowledge')
    if (reason) return html`<p class="reason">${reason}</p>`
    const me = session.me?.subject ?? ''
    const button = (text: string, body: Partial<IncidentBody> & Pick<IncidentBody, 'action'>): TemplateResult =>
      html`<button type="button" ?disabled=${this.busy} @click=${() => void this.step(body)}>${text}</button>`
    if (state === 'resolved') return html`<p class="buttons">${button('Reopen', { action: 'reopen' })}</p>`
    return html`<form class="inline-form" @submit=${this.resolve}>
      ${state === 'open' ? button('Acknowledge', { action: 'acknowledge' }) : nothing}
      ${this.incident.assignee === me ? nothing : button('Take it', { action: 'assign', assignee: me })}
      <label class="narrow">Cause
        <select name="cause" required>
          <option value="">choose …</option>
          ${CAUSES.map((cause) => html`<option value=${cause}>${words(cause)}</option>`)}
        </select></label>
      <label>Note <input name="note" maxlength="2000" placeholder="what was found" /></label>
      <button type="submit" class="primary" ?disabled=${this.busy}>Resolve</button>
    </form>`
  }

  private readonly resolve = (event: SubmitEvent): void => {
    event.preventDefault()
    const given = new FormData(event.target as HTMLFormElement)
    void this.step({ action: 'resolve', cause: given.get('cause') as Cause, note: String(given.get('note')) })
  }

  private async step(body: Partial<IncidentBody> & Pick<IncidentBody, 'action'>): Promise<void> {
    this.busy = true
    this.problem = undefined
    try {
      await stepIncident(this.incident.id, { assignee: null, cause: null, note: null, ...body })
      this.dispatchEvent(new Event('done'))
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      this.problem = error
    } finally {
      this.busy = false
    }
  }
}
