import { html, nothing, type TemplateResult } from 'lit'
import type { KeyResult, Objective } from '../api.ts'
import { figureText, percent, words } from '../format.ts'
import { href } from '../router.ts'

const FRAMEWORKS = { okr: 'OKR', bsc: 'Scorecard' }

/** How far the objectives are, each with the figures that its progress was computed from. */
export function objectives(items: Objective[], unitOf: (kpi: string) => string): TemplateResult {
  return html`<div class="objectives">${items.map((objective) => card(objective, unitOf))}</div>`
}

function card(objective: Objective, unitOf: (kpi: string) => string): TemplateResult {
  const kind = FRAMEWORKS[objective.framework] + (objective.perspective ? ` · ${words(objective.perspective)}` : '')
  return html`<article class="objective" aria-labelledby="objective-${objective.id}">
    <header>
      <div>
        <h3 id="objective-${objective.id}">${objective.title}</h3>
        <p class="quiet">${kind} · ${words(objective.owner)}</p>
      </div>
      <p class="progress-figure">
        ${objective.restricted
          ? html`<span class="quiet">withheld</span>`
          : objective.progress === null
            ? html`<span class="quiet">not known yet</span>`
            : percent(objective.progress)}
      </p>
    </header>
    ${bar(objective.progress, `Progress of ${objective.title}`)}
    ${objective.restricted
      ? html`<p class="quiet">A key result rests on a KPI that your department does not see.</p>`
      : nothing}
    <ul>
      ${objective.key_results.map((result) => keyResult(result, unitOf(result.kpi)))}
    </ul>
  </article>`
}

function keyResult(result: KeyResult, unit: string): TemplateResult {
  return html`<li>
    <a href=${href(['kpis', result.kpi])}>${result.title}</a>
    <span class="against">
      <strong>${figureText(result.current, unit)}</strong> of ${figureText(result.target, unit)}
      <span class="quiet">from ${figureText(result.baseline, unit)}</span>
    </span>
    ${bar(result.progress, `Progress of ${result.title}`)}
  </li>`
}

/** Progress may be below the baseline or beyond the target; the bar ends, the figure goes on. */
export function bar(progress: number | null, label: string): TemplateResult {
  const width = progress === null ? 0 : Math.max(0, Math.min(1, progress)) * 100
  const state = progress === null ? 'unknown' : progress >= 1 ? 'reached' : progress < 0 ? 'below' : 'under-way'
  return html`<svg
    class="bar bar-${state}"
    role="img"
    aria-label="${label}: ${progress === null ? 'not known' : percent(progress)}"
    viewBox="0 0 100 6"
    preserveAspectRatio="none"
  >
    <rect class="bar-track" width="100" height="6" />
    <rect class="bar-fill" width=${width} height="6" />
  </svg>`
}
