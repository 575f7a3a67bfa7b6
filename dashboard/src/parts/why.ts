import { html, nothing, type TemplateResult } from 'lit'
import { customElement, state } from 'lit/decorators.js'
import { type Explained, type ExplainedEvents, explain, type KpiDetail, nameKpi, type RawEvent, type ValueName } from '../api.ts'
import { figureText, instant, integer, percent, seriesName, span } from '../format.ts'
import { Problem } from '../http.ts'
import { Load } from '../load.ts'
import { icon, mark, qualityTriple, severityMark, statusMark, verdictMark } from '../marks.ts'
import { adjust, href, route } from '../router.ts'
import { failure, loaded } from '../states.ts'
import { View } from '../view.ts'
import { eventTable } from './event-table.ts'
import { whyAddress, whyAsked } from './why-address.ts'

/** "Why this number": everything that one value rests on, and what rests on it. Opened by the address, over any screen. */
@customElement('sx-why')
export class Why extends View {
  @state() private more: RawEvent[] = []
  @state() private next: string | null = null
  @state() private moreProblem: Problem | undefined
  @state() private copied = false
  private asked: ValueName | null = null
  private askedText = ''
  private readonly explained = new Load<Explained>(
    this,
    (signal) => explain(this.asked as ValueName, null, this.asOf(), signal),
    ({ events }) => {
      this.more = []
      this.next = events?.next_page_token ?? null
    },
  )
  private readonly kpi = new Load<KpiDetail>(this, (signal) => nameKpi(this.asked?.kpi ?? '', signal))
  private readonly addressChanged = (): void => this.follow()

  override connectedCallback(): void {
    super.connectedCallback()
    window.addEventListener('hashchange', this.addressChanged)
    this.follow()
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    window.removeEventListener('hashchange', this.addressChanged)
  }

  protected override render(): TemplateResult {
    return html`<dialog class="drawer" aria-labelledby="why-title" @close=${this.closed} @click=${this.outside}>
      ${this.asked ? this.panel(this.asked) : nothing}
    </dialog>`
  }

  protected override updated(): void {
    const dialog = this.querySelector('dialog')
    if (this.asked && dialog && !dialog.open) dialog.showModal()
    if (!this.asked && dialog?.open) dialog.close()
  }

  private follow(): void {
    const asked = whyAsked()
    const text = JSON.stringify([asked, this.asOf()])
    if (text === this.askedText) return
    this.askedText = text
    this.asked = asked
    this.copied = false
    this.explained.clear()
    if (asked) void this.explained.reload()
    if (asked && this.kpi.data?.id !== asked.kpi) {
      this.kpi.clear()
      void this.kpi.reload()
    }
    this.requestUpdate()
  }

  private asOf(): string | null {
    return route().query.get('as_of')
  }

  private panel(asked: ValueName): TemplateResult {
    return html`<div class="drawer-body">
      <header class="drawer-head">
        <div>
          <h2 id="why-title">Why this number?</h2>
          <p class="quiet">${this.kpi.data?.title ?? asked.kpi} · ${seriesName(asked.series_key)}</p>
        </div>
        <button type="button" class="plain" @click=${this.copy}>${this.copied ? 'Link copied' : 'Copy link'}</button>
        <button type="button" class="plain" autofocus @click=${() => this.querySelector('dialog')?.close()}>Close</button>
      </header>
      ${loaded(this.explained, 12, (explained) => this.content(explained))}
    </div>`
  }

  private content(explained: Explained): TemplateResult {
    const { observation, definition } = explained
    return html`
      <section class="why-value">
        <p class="value ${observation.status}">${figureText(observation.value, this.kpi.data?.unit)}</p>
        <dl>
          <dt>Window</dt><dd>${span(observation.window_start, observation.window_end)} UTC, event time</dd>
          <dt>State</dt><dd>${statusMark(observation.status)} revision ${observation.revision}, recorded ${instant(observation.recorded_at)}</dd>
          <dt>Complete</dt><dd>${percent(observation.completeness)} of the source's partitions have passed the window's end</dd>
          <dt>Trace</dt><dd>${explained.trace_id ? html`<code>${explained.trace_id}</code>` : 'none'}</dd>
        </dl>
      </section>
      ${explained.events ? this.events(explained, explained.events) : this.parts(explained)}
      ${this.quality(explained)} ${this.resting(explained)} ${this.revisions(explained)}
      <section aria-labelledby="why-definition">
        <h3 id="why-definition">Definition and schema</h3>
        <ul class="plain-list">
          ${explained.schemas.map(
            (each) =>
              html`<li>
                Schema <code>${each.subject}</code> id ${each.schema_id}${each.version ? `, version ${each.version}` : ''}${each.contract_version
                  ? `, contract version ${each.contract_version}`
                  : ''}
              </li>`,
          )}
        </ul>
        ${definition
          ? html`<details>
              <summary>KPI definition, version ${definition.version}${definition.applied_by ? `, applied by ${definition.applied_by}` : ''}</summary>
              <pre tabindex="0">${definition.text}</pre>
            </details>`
          : nothing}
      </section>
    `
  }

  private events(explained: Explained, events: ExplainedEvents): TemplateResult {
    return html`${this.agreement(explained, events)}
      <section aria-labelledby="why-events">
        <h3 id="why-events">The events themselves <span class="quiet">(${events.source})</span></h3>
        ${this.maskNote(explained)} ${eventTable([...events.items, ...this.more], explained.masks)}
        ${this.moreProblem ? failure(this.moreProblem, () => void this.loadMore()) : nothing}
        ${this.next ? html`<button type="button" @click=${() => void this.loadMore()}>Show more events</button>` : nothing}
      </section>`
  }

  /** A KPI over other KPIs: the values it was computed from, each one click from its own explanation. */
  private parts({ parts }: Explained): TemplateResult {
    return html`<section aria-labelledby="why-parts">
      <h3 id="why-parts">The values it was computed from</h3>
      <table class="compact">
        <thead><tr><th scope="col">KPI</th><th scope="col">Series</th><th scope="col" class="number">Value</th><th scope="col">State</th></tr></thead>
        <tbody>
          ${parts.map(
            (each) => html`<tr>
              <th scope="row">${each.kpi}</th><td>${seriesName(each.series_key)}</td>
              <td class="number"><a href=${whyAddress(each)}>${figureText(each.value, this.kpi.data?.unit)}</a></td><td>${statusMark(each.status)}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </section>`
  }

  private agreement({ observation, offsets }: Explained, events: ExplainedEvents): TemplateResult {
    const verdict =
      events.agrees === true
        ? mark('good', html`${integer(events.count)} events counted, and ${integer(events.count)} found again`)
        : events.agrees === false
          ? mark('bad', html`${integer(events.count)} events counted, but ${integer(events.matched ?? 0)} found again`)
          : mark('unknown', html`${integer(events.count)} events counted; ${events.note}`)
    return html`<section aria-labelledby="why-from">
      <h3 id="why-from">What it was computed from</h3>
      <p>${verdict}${events.late ? html` <span class="quiet">${events.late} more came too late and are in no value</span>` : nothing}</p>
      <table class="compact">
        <caption class="sr-only">Offset ranges of ${observation.kpi}</caption>
        <thead><tr><th scope="col">Partition</th><th scope="col" class="number">First offset</th><th scope="col" class="number">Last offset</th></tr></thead>
        <tbody>
          ${offsets.map(
            (each) => html`<tr><th scope="row">${each.partition}</th><td class="number">${each.first}</td><td class="number">${each.last}</td></tr>`,
          )}
        </tbody>
      </table>
    </section>`
  }

  private maskNote({ masks }: Explained): TemplateResult | typeof nothing {
    const names = Object.entries(masks)
    if (!names.length) return nothing
    return html`<p class="mask-note">
      ${icon('quality_artefact')}
      Masked for your role: ${names.map(([name, how], index) => html`${index ? ', ' : ''}<code>${name}</code> (${how === 'redact' ? 'hidden' : how})`)}
    </p>`
  }

  private quality({ quality }: Explained): TemplateResult {
    const score = quality.suspect_share === null ? null : 1 - quality.suspect_share
    const assessedShare = this.explained.data?.observation.count
      ? Math.min(1, quality.assessed / this.explained.data.observation.count)
      : null
    const worst = quality.worst as 'info' | 'warning' | 'critical' | null
    return html`<section aria-labelledby="why-quality">
      <h3 id="why-quality">Quality of these events</h3>
      <p>${qualityTriple({ score, assessedShare, worst })}</p>
      ${quality.rules.length
        ? html`<table class="compact">
            <caption>Rules over the hours that the window touches</caption>
            <thead><tr><th scope="col">Rule</th><th scope="col">Severity</th><th scope="col" class="number">Broken</th><th scope="col" class="number">Assessed</th></tr></thead>
            <tbody>
              ${quality.rules.map(
                (each) => html`<tr>
                  <th scope="row">${each.title}</th><td>${severityMark(each.severity as 'info')}</td>
                  <td class="number">${integer(each.violations)}</td><td class="number">${integer(each.assessed)}</td>
                </tr>`,
              )}
            </tbody>
          </table>`
        : html`<p class="quiet">No rule has judged events of these hours.</p>`}
      ${quality.incidents.length
        ? html`<p>${mark('warning', `${quality.incidents.length} open incident${quality.incidents.length > 1 ? 's' : ''} at the time`)} <a href=${href(['quality'])}>Quality</a></p>`
        : nothing}
    </section>`
  }

  private resting({ signals, decisions }: Explained): TemplateResult {
    return html`<section aria-labelledby="why-resting">
      <h3 id="why-resting">What rests on it</h3>
      ${signals.length + decisions.length === 0 ? html`<p class="quiet">No signal and no decision.</p>` : nothing}
      <ul class="rows">
        ${signals.map((each) => html`<li><a href=${href(['signals', each.id])}>${verdictMark(each.verdict)}</a><span>${each.reason}</span></li>`)}
        ${decisions.map(
          (each) => html`<li><b class="letter accent">D</b><a href=${href(['decisions', each.id])}>${each.title}</a><span class="quiet">${each.decided_by}</span></li>`,
        )}
      </ul>
    </section>`
  }

  private revisions({ revisions, observation }: Explained): TemplateResult | typeof nothing {
    if (revisions.length < 2) return nothing
    return html`<section>
      <details>
        <summary>${revisions.length} revisions of this window</summary>
        <table class="compact">
          <thead><tr><th scope="col">Revision</th><th scope="col" class="number">Value</th><th scope="col">State</th><th scope="col">Recorded</th></tr></thead>
          <tbody>
            ${revisions.slice(-50).map(
              (each) => html`<tr class=${each.revision === observation.revision ? 'chosen' : ''}>
                <th scope="row"><a href=${whyAddress(each)}>${each.revision}</a></th>
                <td class="number">${figureText(each.value, this.kpi.data?.unit)}</td><td>${statusMark(each.status)}</td><td>${instant(each.recorded_at)}</td>
              </tr>`,
            )}
          </tbody>
        </table>
      </details>
    </section>`
  }

  private async loadMore(): Promise<void> {
    if (!this.asked || !this.next) return
    try {
      const { events } = await explain(this.asked, this.next, this.asOf())
      this.more = [...this.more, ...(events?.items ?? [])]
      this.next = events?.next_page_token ?? null
      this.moreProblem = undefined
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      this.moreProblem = error
    }
  }

  private readonly copy = async (): Promise<void> => {
    await navigator.clipboard.writeText(location.href)
    this.copied = true
  }

  private readonly closed = (): void => {
    if (whyAsked()) adjust({ why: null })
  }

  private readonly outside = (event: MouseEvent): void => {
    if (event.target === event.currentTarget) this.querySelector('dialog')?.close()
  }
}
