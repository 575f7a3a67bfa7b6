import { html, nothing, type TemplateResult } from 'lit'
import type { LoopStamps } from '../api.ts'
import { duration, instant, time } from '../format.ts'

const STEPS: { stamp: keyof LoopStamps; title: string }[] = [
  { stamp: 'event_at', title: 'Event' },
  { stamp: 'detected_at', title: 'Detected' },
  { stamp: 'notified_at', title: 'Notified' },
  { stamp: 'acknowledged_at', title: 'Acknowledged' },
  { stamp: 'decided_at', title: 'Decided' },
  { stamp: 'dispatched_at', title: 'Dispatched' },
  { stamp: 'executed_at', title: 'Executed' },
  { stamp: 'effect_seen_at', title: 'Effect seen' },
]

/** How far round the loop, in one line: dots filled as far as it went. */
export function loopDots(loop: LoopStamps | null): TemplateResult {
  const reached = STEPS.filter(({ stamp }) => loop?.[stamp])
  const last = reached.at(-1)
  const next = STEPS.find(({ stamp }) => !loop?.[stamp])
  return html`<span class="loop-dots" title=${next ? `Next: ${next.title.toLowerCase()}` : 'The loop is closed'}>
    <span aria-hidden="true">${STEPS.map(({ stamp }) => html`<i class=${loop?.[stamp] ? 'reached' : ''}></i>`)}</span>
    <span>${last?.title.toLowerCase() ?? 'nothing yet'}</span>
  </span>`
}

/**
 * The loop from the event to its effect with the time that each step took. The event itself is in event time,
 * which in a replay is long ago: from detection on the steps are compared.
 */
export function loopTimeline(loop: LoopStamps | null, now: number): TemplateResult {
  let before: string | null = null
  let waiting = false
  return html`<ol class="loop">
    ${STEPS.map(({ stamp, title }) => {
      const at = loop?.[stamp] ?? null
      const since: string | null = before
      const took = at && since && stamp !== 'detected_at' ? duration(Date.parse(at) - Date.parse(since)) : ''
      const next = !at && !waiting && stamp !== 'event_at'
      if (at) before = at
      if (next) waiting = true
      return html`<li class=${at ? 'reached' : next ? 'next' : ''}>
        <span class="loop-title">${title}</span>
        <span class="quiet">${at ? (stamp === 'event_at' ? time(at) : instant(at)) : next ? 'waiting' : 'not yet'}</span>
        ${took ? html`<span class="took">after ${took}</span>` : nothing}
        ${next && since ? html`<span class="took">for ${duration(now - Date.parse(since))}</span>` : nothing}
      </li>`
    })}
  </ol>`
}
