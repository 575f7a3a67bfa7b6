import { html, nothing, type TemplateResult } from 'lit'
import { customElement, property, state } from 'lit/decorators.js'
import type { Observation } from '../api.ts'
import { type ChartData, expectedText } from '../chart-data.ts'
import { figureText, percent, span } from '../format.ts'
import { observationQuality, statusMark } from '../marks.ts'
import { View } from '../view.ts'
import { whyAddress } from './why-address.ts'

const ROWS = 24

/** The chart as a table: for screen readers always there to be opened, for everybody else too. Newest first. */
@customElement('sx-chart-table')
export class ChartTable extends View {
  @property({ attribute: false }) data!: ChartData
  @property() unit = ''
  @property() override title = ''
  @state() private page = 0
  @state() private open = false

  protected override render(): TemplateResult {
    return html`<details class="chart-table" @toggle=${(event: Event) => (this.open = (event.target as HTMLDetailsElement).open)}>
      <summary>Values as a table</summary>
      ${this.open ? this.table() : nothing}
    </details>`
  }

  private table(): TemplateResult {
    const rows = this.data.observations
      .map((observation, index) => ({ observation, index }))
      .filter((row): row is { observation: Observation; index: number } => row.observation !== null)
      .reverse()
    const pages = Math.max(1, Math.ceil(rows.length / ROWS))
    const page = Math.min(this.page, pages - 1)
    return html`<div class="scroll" tabindex="0" role="region" aria-label="${this.title} as a table">
        <table>
          <caption class="sr-only">${this.title}, newest window first</caption>
          <thead>
            <tr><th scope="col">Window</th><th scope="col" class="number">Value</th><th scope="col">Expected</th><th scope="col">State</th>
            <th scope="col" class="number">Events</th><th scope="col" class="number">Without fault</th><th scope="col"><span class="sr-only">Explain</span></th></tr>
          </thead>
          <tbody>
            ${rows.slice(page * ROWS, (page + 1) * ROWS).map(({ observation, index }) => this.row(observation, index))}
          </tbody>
        </table>
      </div>
      <p class="pager">
        <button type="button" ?disabled=${page === 0} @click=${() => (this.page = page - 1)}>Newer</button>
        <span>Page ${page + 1} of ${pages}</span>
        <button type="button" ?disabled=${page >= pages - 1} @click=${() => (this.page = page + 1)}>Older</button>
      </p>`
  }

  private row(observation: Observation, index: number): TemplateResult {
    const band = this.data.expectations[index]
    const { score } = observationQuality(observation)
    return html`<tr>
      <th scope="row">${span(observation.window_start, observation.window_end)}</th>
      <td class="number">${figureText(observation.value, this.unit)}</td>
      <td>${expectedText(band, (value) => figureText(value, this.unit)) || '—'}</td>
      <td>${statusMark(observation.status)}</td>
      <td class="number">${observation.count}</td>
      <td class="number">${score === null ? 'not assessed' : percent(score, 1)}</td>
      <td><a href=${whyAddress(observation)}>Why?</a></td>
    </tr>`
  }
}
