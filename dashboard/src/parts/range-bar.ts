import { html, nothing, type TemplateResult } from 'lit'
import { customElement, property } from 'lit/decorators.js'
import { adjust } from '../router.ts'
import { View } from '../view.ts'

export const RANGES: { id: string; title: string; days: number | null }[] = [
  { id: '1d', title: '1 day', days: 1 },
  { id: '3d', title: '3 days', days: 3 },
  { id: '7d', title: '7 days', days: 7 },
  { id: '30d', title: '30 days', days: 30 },
  { id: '90d', title: '90 days', days: 90 },
  { id: 'all', title: 'All', days: null },
]

/** `2013-02-08T17:00` of a field that has no zone, as UTC; empty for none. */
export function fromField(text: string): string | null {
  return text ? `${text}${text.length === 16 ? ':00' : ''}Z` : null
}

export function toField(moment: string | null): string {
  return moment ? new Date(moment).toISOString().slice(0, 19) : ''
}

/** Which stretch of event time is shown, and as known at which moment. Both are in the address. */
@customElement('sx-range-bar')
export class RangeBar extends View {
  @property() range = '7d'
  @property({ attribute: false }) from: string | null = null
  @property({ attribute: false }) to: string | null = null
  @property({ attribute: false }) asOf: string | null = null

  protected override render(): TemplateResult {
    const custom = this.from !== null || this.to !== null
    return html`<div class="range-bar">
      <div class="segments" role="group" aria-label="Range of event time">
        ${RANGES.map(
          ({ id, title }) => html`<button
            type="button"
            aria-pressed=${!custom && id === this.range}
            @click=${() => adjust({ range: id, from: null, to: null })}
          >
            ${title}
          </button>`,
        )}
      </div>
      <details class="more" ?open=${custom}>
        <summary>From – to</summary>
        <div class="fields">
          <label>From (UTC) <input type="datetime-local" .value=${toField(this.from)} @change=${this.set('from')} /></label>
          <label>To (UTC) <input type="datetime-local" .value=${toField(this.to)} @change=${this.set('to')} /></label>
        </div>
      </details>
      <div class="as-of">
        <label>As known at (UTC) <input type="datetime-local" step="1" .value=${toField(this.asOf)} @change=${this.set('as_of')} /></label>
        ${this.asOf === null
          ? html`<button type="button" class="plain" @click=${() => adjust({ as_of: new Date().toISOString().slice(0, 19) + 'Z' })}>Freeze now</button>`
          : nothing}
      </div>
    </div>`
  }

  private set(name: 'from' | 'to' | 'as_of'): (event: Event) => void {
    return (event) => adjust({ [name]: fromField((event.target as HTMLInputElement).value) })
  }
}
