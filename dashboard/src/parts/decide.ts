import { html, nothing, type TemplateResult } from 'lit'
import { customElement, property, state } from 'lit/decorators.js'
import { decide, explainSignal, type SignalDetail } from '../api.ts'
import { figureText, instant, seriesName, span } from '../format.ts'
import { Problem } from '../http.ts'
import { Load } from '../load.ts'
import { verdictMark } from '../marks.ts'
import { go, href } from '../router.ts'
import { failure, loaded, permittedButton } from '../states.ts'
import { View } from '../view.ts'

/** Deciding on a signal: what was chosen and why, with what is known at this moment frozen beside it. */
@customElement('sx-decide')
export class Decide extends View {
  @property({ attribute: false }) signal!: SignalDetail
  @property() override title = ''
  @property() unit = ''
  @state() private asOf: string | null = null
  @state() private problem: Problem | undefined
  @state() private busy = false
  private readonly evidence = new Load(this, (signal) => explainSignal(this.signal.id, this.asOf, signal))

  protected override render(): TemplateResult {
    if (this.asOf === null) return permittedButton('decide', 'Decide …', () => this.begin(), { primary: true })
    return html`<form class="card decide" @submit=${this.submit} aria-labelledby="decide-title">
      <h3 id="decide-title">Decide</h3>
      <label>Title <input name="title" required maxlength="300" /></label>
      <label>Choice: what is to be done <textarea name="choice" required maxlength="2000" rows="2"></textarea></label>
      <label>Rationale: why this and not something else <textarea name="rationale" maxlength="10000" rows="3"></textarea></label>
      <label>Expected effect: how will one see that it worked? <textarea name="expected" maxlength="2000" rows="2"></textarea></label>
      <fieldset class="frozen">
        <legend>Frozen with the decision, as known at ${instant(this.asOf)} UTC</legend>
        ${loaded(this.evidence, 3, (explained) => this.shown(explained))}
      </fieldset>
      ${this.problem ? failure(this.problem) : nothing}
      <p class="buttons">
        <button type="submit" class="primary" ?disabled=${this.busy}>${this.busy ? 'Recording …' : 'Record the decision'}</button>
        <button type="button" @click=${() => (this.asOf = null)}>Cancel</button>
      </p>
    </form>`
  }

  private shown({ signal, observations }: Awaited<ReturnType<typeof explainSignal>>): TemplateResult {
    return html`<p>${verdictMark(signal.verdict)} ${this.title}${signal.series_key ? `, ${seriesName(signal.series_key)}` : ''}: ${signal.reason}</p>
      <p class="quiet">
        ${observations.length} observations${observations.length
          ? `, the last of ${span(observations.at(-1)!.window_start, observations.at(-1)!.window_end)}: ${figureText(observations.at(-1)!.value, this.unit)} (revision ${observations.at(-1)!.revision})`
          : ''}.
        Kept with a hash, so that anybody can check later what you saw.
      </p>`
  }

  private begin(): void {
    this.asOf = new Date().toISOString()
    this.problem = undefined
    void this.evidence.reload()
    void this.updateComplete.then(() => this.querySelector<HTMLInputElement>('input')?.focus())
  }

  private readonly submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault()
    const fields = new FormData(event.target as HTMLFormElement)
    const text = (name: string): string => String(fields.get(name) ?? '').trim()
    this.busy = true
    this.problem = undefined
    try {
      const outcome = await decide({
        signal: this.signal.id,
        title: text('title'),
        choice: text('choice'),
        rationale: text('rationale'),
        expected: text('expected'),
        as_of: this.asOf,
      })
      this.asOf = null
      this.dispatchEvent(new Event('done'))
      if (outcome.id) go(href(['decisions', outcome.id]))
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      this.problem = error
    } finally {
      this.busy = false
    }
  }
}
