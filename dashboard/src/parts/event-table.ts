import { html, type TemplateResult } from 'lit'
import type { RawEvent } from '../api.ts'
import { instant } from '../format.ts'
import { empty } from '../states.ts'

/** Raw events, a column for each field. A masked field says so in words; it is never just empty. */
export function eventTable(events: RawEvent[], masks: Record<string, string>): TemplateResult {
  if (!events.length) return empty('No events', 'The window holds none that satisfy the definition.')
  const names = [...new Set(events.flatMap((event) => [...Object.keys(event.data), ...event.masked]))]
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Raw events">
    <table class="compact events">
      <thead>
        <tr><th scope="col">Event time</th><th scope="col">Place</th>${names.map((name) => html`<th scope="col">${name}</th>`)}</tr>
      </thead>
      <tbody>
        ${events.map(
          (event) => html`<tr>
            <th scope="row">${instant(event.event_time)}</th>
            <td class="quiet">${event.partition}/${event.offset}</td>
            ${names.map((name) => cell(event, name, masks[name]))}
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`
}

function cell(event: RawEvent, name: string, mask: string | undefined): TemplateResult {
  const value: unknown = event.data[name]
  if (event.masked.includes(name)) {
    return value === null || value === undefined
      ? html`<td><span class="masked" title="Your role may not see this field">${mask === 'pseudonym' ? 'none' : 'hidden'}</span></td>`
      : html`<td><span class="masked" title="A pseudonym: the same value has the same one everywhere">${String(value)}</span></td>`
  }
  if (value === null || value === undefined) return html`<td class="quiet">null</td>`
  return html`<td>${typeof value === 'object' ? JSON.stringify(value) : String(value)}</td>`
}
