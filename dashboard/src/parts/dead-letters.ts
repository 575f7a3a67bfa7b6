import { html, nothing, type TemplateResult } from 'lit'
import { customElement, state } from 'lit/decorators.js'
import { repeat } from 'lit/directives/repeat.js'
import { type DeadLetter, type DeadLetterGroup, type DeadLetterGroups, groupDeadLetters, listDeadLetters, listRedrives, orderRedrive, type RedriveSummary } from '../api.ts'
import { instant, integer, words } from '../format.ts'
import { Problem } from '../http.ts'
import { Load } from '../load.ts'
import { Pages } from '../pages.ts'
import { CANARY, counts, underWay, undoable, waits } from '../redrive.ts'
import { session } from '../session.ts'
import { empty, failure, loaded } from '../states.ts'
import { View } from '../view.ts'
import './redrive.ts'

/** What could not be used, by its cause, and the way to send it in again: a check of all, a few, then the rest. */
@customElement('sx-dead-letters')
export class DeadLetters extends View {
  @state() private busy = ''
  @state() private problem: Problem | undefined
  @state() private opened: DeadLetterGroup | undefined
  @state() private redrives: string[] = []
  private readonly groups = new Load(this, groupDeadLetters)
  private readonly records = new Pages(this, (token, signal) =>
    listDeadLetters({ source: this.opened?.source ?? null, cause: this.opened?.cause ?? null, page_token: token }, signal),
  )
  private readonly orders = new Load(this, listRedrives, ({ items }) => {
    const open = items.filter(({ state }) => underWay(state) || waits(state)).map(({ id }) => id)
    this.redrives = [...new Set([...this.redrives, ...open])]
  })

  private get mayDrive(): boolean {
    return session.may('ingest') || session.may('steward')
  }

  override connectedCallback(): void {
    super.connectedCallback()
    void this.groups.reload()
    if (this.mayDrive) void this.orders.reload()
  }

  protected override render(): TemplateResult {
    return html`${this.problem ? failure(this.problem) : nothing}
    ${repeat(
      this.redrives,
      (id) => id,
      (id) => html`<sx-redrive .redrive=${id} @settled=${this.settled}></sx-redrive>`,
    )}
    ${this.past(this.orders.data?.items ?? [])}
    ${loaded(this.groups, 3, (groups) => this.table(groups))}
    ${this.opened ? loaded(this.records.first, 3, () => this.list(this.records.items)) : nothing}`
  }

  private readonly settled = (): void => {
    void this.groups.reload()
    void this.orders.reload()
  }

  /** Ended re-drives of which something is published: what may still be undone. */
  private past(orders: RedriveSummary[]): TemplateResult | typeof nothing {
    const items = orders.filter((each) => undoable(each) && !waits(each.state))
    if (!items.length) return nothing
    return html`<details>
      <summary>Earlier re-drives that can be undone</summary>
      <div class="cards-on-narrow">
        <table class="list" aria-label="Earlier re-drives">
          <thead>
            <tr>
              <th scope="col">Source</th><th scope="col">Ordered</th><th scope="col">How it went</th>
              <th scope="col"><span class="sr-only">The re-drive</span></th>
            </tr>
          </thead>
          <tbody>${items.map((each) => this.order(each))}</tbody>
        </table>
      </div>
    </details>`
  }

  private order(redrive: RedriveSummary): TemplateResult {
    const { id, source, state, by, ordered_at } = redrive
    const shown = this.redrives.includes(id)
    const toggled = shown ? this.redrives.filter((each) => each !== id) : [id, ...this.redrives]
    return html`<tr>
      <td data-label="Source">${source}</td>
      <td data-label="Ordered"><span>${instant(ordered_at)}</span> <span class="quiet">by ${by}</span></td>
      <td data-label="How it went" class="what"><span>${state}</span> <span class="quiet">${counts(redrive)}</span></td>
      <td class="buttons"><button type="button" aria-expanded=${shown} @click=${() => (this.redrives = toggled)}>Show</button></td>
    </tr>`
  }

  private table({ items, groups_left_out, letters_left_out }: DeadLetterGroups): TemplateResult {
    if (!items.length) return empty('No dead letters', 'Every record that was accepted could be used.')
    return html`<div class="cards-on-narrow">
      <table class="list" aria-label="Dead letters by cause">
        <thead>
          <tr>
            <th scope="col">Source</th><th scope="col">Cause</th><th scope="col">Field</th>
            <th scope="col" class="number">Letters</th><th scope="col">Last seen</th>
            <th scope="col"><span class="sr-only">Records, and sending again</span></th>
          </tr>
        </thead>
        <tbody>${items.map((each) => this.group(each))}</tbody>
      </table>
      ${groups_left_out ? html`<p class="quiet note">… and ${integer(groups_left_out)} more causes, of ${integer(letters_left_out)} letters.</p>` : nothing}
    </div>`
  }

  private group(group: DeadLetterGroup): TemplateResult {
    const { source, stage, code, error, rule, field, letters, driven, last_seen } = group
    const shown = this.opened?.source === source && this.opened.cause === group.cause
    return html`<tr>
      <td data-label="Source"><span>${source}</span> <span class="quiet">${stage}</span></td>
      <td data-label="Cause" class="what"><span>${code ? words(code) : error}</span>${rule ? html` <span class="quiet">${rule}</span>` : nothing}</td>
      <td data-label="Field">${field ? html`<code>${field}</code>` : '—'}</td>
      <td data-label="Letters" class="number">${integer(letters)}${driven ? html` <span class="quiet">${integer(driven)} driven</span>` : nothing}</td>
      <td data-label="Last seen">${instant(last_seen)}</td>
      <td class="buttons">
        <button type="button" aria-expanded=${shown} @click=${() => this.show(shown ? undefined : group)}>Records</button>
        ${this.mayDrive && driven < letters
          ? html`<button type="button" ?disabled=${this.busy !== ''} @click=${() => void this.check(group)}>${this.busy === group.cause ? 'Checking …' : 'Check again'}</button>`
          : nothing}
      </td>
    </tr>`
  }

  private list(items: DeadLetter[]): TemplateResult {
    return html`<div class="cards-on-narrow">
        <table class="list" aria-label="Records of the group">
          <thead>
            <tr>
              <th scope="col">Why</th><th scope="col">Value</th><th scope="col">Last seen</th><th scope="col">Record</th>
            </tr>
          </thead>
          <tbody>${items.map((each) => this.row(each))}</tbody>
        </table>
      </div>
      ${this.records.moreButton('Older dead letters')}`
  }

  private row(letter: DeadLetter): TemplateResult {
    return html`<tr>
      <td data-label="Why" class="what">${letter.reason}</td>
      <td data-label="Value" class="breaks">${letter.value ?? '—'}</td>
      <td data-label="Last seen"><span>${instant(letter.last_seen)}</span> <span class="quiet">attempt ${letter.attempts}</span></td>
      <td data-label="Record">
        ${letter.payload_hidden
          ? html`<span class="masked" title="It could not be read, so it cannot be masked for your role">hidden</span>`
          : html`<details><summary>Show<span class="sr-only"> the record</span></summary><pre tabindex="0">${typeof letter.payload === 'string' ? letter.payload : JSON.stringify(letter.payload, null, 2)}</pre></details>`}
      </td>
    </tr>`
  }

  private show(group: DeadLetterGroup | undefined): void {
    this.opened = group
    if (group) this.records.restart()
  }

  /** Orders the check; nothing is published before it is let go on. */
  private async check({ source, cause }: DeadLetterGroup): Promise<void> {
    this.busy = cause
    this.problem = undefined
    try {
      const { id } = await orderRedrive({ source, cause, dry_run: true, canary: CANARY })
      this.redrives = [id, ...this.redrives]
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      this.problem = error
    } finally {
      this.busy = ''
    }
  }
}
