import { html, nothing, type TemplateResult } from 'lit'
import { customElement, property, state } from 'lit/decorators.js'
import type { Latest } from '../api.ts'
import { figureText, seriesName } from '../format.ts'
import { View } from '../view.ts'

const SHOWN = 60

/** Choose one of many series: type to narrow, arrows to move, Enter to choose (the combobox pattern). */
@customElement('sx-series-picker')
export class SeriesPicker extends View {
  @property({ attribute: false }) series: Latest[] = []
  @property({ type: Number }) total = 0
  @property() chosen = ''
  @property() unit = ''
  @state() private open = false
  @state() private filter = ''
  @state() private active = 0

  protected override render(): TemplateResult {
    const found = this.found()
    return html`<div class="picker" @focusout=${this.left}>
      <label for="series-input">Series</label>
      <input
        id="series-input"
        role="combobox"
        aria-expanded=${this.open}
        aria-controls="series-list"
        aria-autocomplete="list"
        aria-activedescendant=${this.open && found.length ? `series-${this.active}` : nothing}
        autocomplete="off"
        spellcheck="false"
        .value=${this.open ? this.filter : seriesName(this.chosen)}
        placeholder="Type to search"
        @focus=${this.opened}
        @click=${this.opened}
        @input=${(event: InputEvent) => {
          this.filter = (event.target as HTMLInputElement).value
          this.active = 0
        }}
        @keydown=${this.key}
      />
      ${this.open ? this.list(found) : nothing}
    </div>`
  }

  private list(found: Latest[]): TemplateResult {
    return html`<div class="picker-list">
      <ul id="series-list" role="listbox" aria-label="Series">
        ${found.slice(0, SHOWN).map(
          (each, index) => html`<li
            id="series-${index}"
            role="option"
            aria-selected=${each.series_key === this.chosen}
            class=${index === this.active ? 'active' : ''}
            @mousedown=${(event: Event) => {
              event.preventDefault()
              this.choose(each)
            }}
          >
            <span>${seriesName(each.series_key)}</span>
            <span class="quiet">${figureText(each.value, this.unit)}</span>
          </li>`,
        )}
      </ul>
      <p class="quiet" role="status">
        ${found.length === 0 ? 'No series matches.' : found.length > SHOWN ? `${found.length} match; the first ${SHOWN} are shown.` : ''}
        ${this.total > this.series.length ? `The ${this.series.length} largest of ${this.total} series can be chosen here.` : ''}
      </p>
    </div>`
  }

  private found(): Latest[] {
    const wanted = this.filter.toLowerCase().split(/\s+/).filter(Boolean)
    return this.series.filter((each) => {
      const name = seriesName(each.series_key).toLowerCase()
      return wanted.every((word) => name.includes(word))
    })
  }

  private readonly opened = (): void => {
    if (this.open) return
    this.open = true
    this.filter = ''
    this.active = Math.max(0, this.series.findIndex((each) => each.series_key === this.chosen))
  }

  private readonly left = (event: FocusEvent): void => {
    if (!this.contains(event.relatedTarget as Node | null)) this.open = false
  }

  private readonly key = (event: KeyboardEvent): void => {
    const found = this.found().slice(0, SHOWN)
    if (event.key === 'Escape') this.open = false
    else if (event.key === 'ArrowDown') this.open ? (this.active = Math.min(found.length - 1, this.active + 1)) : this.opened()
    else if (event.key === 'ArrowUp') this.active = Math.max(0, this.active - 1)
    else if (event.key === 'Enter' && this.open && found[this.active]) this.choose(found[this.active])
    else return
    event.preventDefault()
    this.updateComplete.then(() => this.querySelector('.active')?.scrollIntoView({ block: 'nearest' }))
  }

  private choose(series: Latest | undefined): void {
    if (!series) return
    this.open = false
    this.dispatchEvent(new CustomEvent('chosen', { detail: series.series_key }))
  }
}
