import { html, svg, type TemplateResult } from 'lit'
import type { Flow } from '../api.ts'
import { bars, summary } from '../flow.ts'
import { clock, digits } from '../format.ts'

const COUNT = 72
const WIDTH = 720
const HEIGHT = 160

/** Events a minute of arrival as bars, dead letters on top of them, and the line of what is usual. */
export function flowBars(flow: Flow, now: number): TemplateResult {
  const drawn = bars(flow, now, COUNT)
  const first = drawn[0]
  const second = drawn[1]
  const minutes = first && second ? (second.at - first.at) / 60_000 : 1
  const { rhythm } = flow
  const usual = rhythm?.expected && rhythm.minutes ? rhythm.expected / rhythm.minutes : null
  const highest = Math.max(1 / minutes, usual ?? 0, ...drawn.map(({ events, errors }) => (events + errors) / minutes))
  const y = (rate: number): number => HEIGHT - (rate / highest) * (HEIGHT - 4)
  const step = WIDTH / drawn.length
  const rect = (place: number, from: number, to: number, name: string) =>
    svg`<rect class=${name} x=${place * step + 0.5} width=${Math.max(1, step - 1)} y=${y(to)} height=${Math.max(0, y(from) - y(to))} />`
  return html`<figure class="flow">
    <p class="quiet flow-scale"><span>${digits(highest)} a minute</span></p>
    <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label=${summary(drawn, minutes)} preserveAspectRatio="none">
      ${drawn.map(({ events, errors }, place) => {
        const good = events / minutes
        return svg`${events ? rect(place, 0, good, 'flow-events') : ''}${errors ? rect(place, good, good + errors / minutes, 'flow-errors') : ''}`
      })}
      ${usual === null ? '' : svg`<line class="flow-usual" x1="0" x2=${WIDTH} y1=${y(usual)} y2=${y(usual)} />`}
    </svg>
    <p class="quiet flow-scale">
      <span>${clock(flow.since)}</span><span>${clock(now)} UTC</span>
    </p>
    <ul class="legend">
      <li><span class="key-block flow-events"></span>events, by arrival</li>
      <li><span class="key-block flow-errors"></span>dead letters</li>
      ${usual === null ? '' : html`<li><span class="key key-threshold"></span>usual now: ${digits(usual)} a minute</li>`}
    </ul>
  </figure>`
}
