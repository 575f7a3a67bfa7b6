/** What a screen shows while it has nothing else to show. */
import { html, nothing, type TemplateResult } from 'lit'
import type { Problem } from './http.ts'
import type { Load } from './load.ts'
import { icon } from './marks.ts'
import { session } from './session.ts'

export function skeleton(lines: number, label = 'Loading'): TemplateResult {
  return html`<div class="skeleton" role="status">
    <span class="sr-only">${label}</span>
    ${Array.from({ length: lines }, () => html`<span aria-hidden="true"></span>`)}
  </div>`
}

export function empty(title: string, detail: unknown = nothing): TemplateResult {
  return html`<div class="empty"><strong>${title}</strong>${detail === nothing ? nothing : html`<span>${detail}</span>`}</div>`
}

export function failure(problem: Problem, retry?: () => void): TemplateResult {
  return html`<div class="failure" role="alert">
    ${icon('critical')}
    <div>
      <strong>${problem.title}</strong>
      ${problem.detail ? html`<span>${problem.detail}</span>` : nothing}
      ${problem.errors.map((each) => html`<span><code>${each.location}</code> ${each.message}</span>`)}
      <span class="quiet">code ${problem.code}</span>
    </div>
    ${retry ? html`<button type="button" @click=${retry}>Try again</button>` : nothing}
  </div>`
}

/** Skeleton, failure or content; a failed reload keeps the old content below the failure. */
export function loaded<T>(load: Load<T>, lines: number, content: (data: T) => unknown): unknown {
  const failed = load.problem ? failure(load.problem, () => void load.reload()) : nothing
  if (load.data === undefined) return load.problem ? failed : skeleton(lines)
  return html`${failed}${content(load.data)}`
}

/** What a role may not do stays visible, disabled and explained. */
export function permittedButton(
  permission: string,
  label: unknown,
  click: () => void,
  options: { busy?: boolean; primary?: boolean; disabledReason?: string } = {},
): TemplateResult {
  const reason = session.reasonAgainst(permission) || options.disabledReason || ''
  return html`<span class="permitted"
    ><button type="button" class=${options.primary ? 'primary' : ''} ?disabled=${Boolean(reason) || options.busy} @click=${click}>
      ${label}</button
    >${reason ? html`<span class="reason">${reason}</span>` : nothing}</span
  >`
}
