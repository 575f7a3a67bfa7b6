import { html, nothing, type PropertyValues, type TemplateResult } from 'lit'
import { customElement, property, state } from 'lit/decorators.js'
import { acknowledge, listDecisions, listObservations, readKpi, readSignal, type KpiDetail, type ObservationPage, type SignalDetail } from '../api.ts'
import { cadence, chartData } from '../chart-data.ts'
import { ago, figureText, instant, percent, seriesName, time, words } from '../format.ts'
import { Problem } from '../http.ts'
import { Following, live, present } from '../live.ts'
import { Load } from '../load.ts'
import { count, mark, severityMark, verdictMark } from '../marks.ts'
import { loopTimeline } from '../parts/loop.ts'
import { href } from '../router.ts'
import { failure, loaded, permittedButton, skeleton } from '../states.ts'
import { View } from '../view.ts'
import { marksFor } from './kpi-marks.ts'
import '../parts/chart.ts'
import '../parts/decide.ts'
import '../parts/playbook.ts'

/** Windows shown before and after the signal's own. */
const AROUND = 36
const RELOAD_MS = 1500

/** One signal: what happened, who was told, what was done, what was decided. */
@customElement('sx-signal')
export class SignalView extends View {
  @property() signal = ''
  @state() private problem: Problem | undefined
  @state() private busy = false
  private readonly following = new Following(this)
  private readonly detail = new Load<SignalDetail>(this, (signal) => readSignal(this.signal, signal), (found) => this.found(found))
  private readonly kpi = new Load<KpiDetail>(this, (signal) => readKpi(this.detail.data?.kpi ?? '', signal), () => void this.excerpt.reload())
  private readonly excerpt = new Load<ObservationPage>(this, (signal) => this.readExcerpt(signal))
  private readonly decisions = new Load(this, (signal) => listDecisions({ signal: this.signal }, signal))

  protected override willUpdate(changed: PropertyValues): void {
    if (!changed.has('signal')) return
    for (const load of [this.detail, this.kpi, this.excerpt, this.decisions]) load.clear()
    void this.reload()
    for (const channel of ['signals', 'actions']) {
      this.following.on(channel, null, { onFrame: (frame) => this.heard(frame.data), onGap: () => void this.reload() }, 4)
    }
  }

  protected override render(): TemplateResult {
    return html`<p class="crumbs"><a href=${href(['signals'])}>Signals</a> / Signal</p>
      ${loaded(this.detail, 10, (detail) => this.content(detail))}`
  }

  private content(detail: SignalDetail): TemplateResult {
    const unit = this.kpi.data?.unit ?? ''
    return html`
      <div class="page-head">
        <div>
          <h1>${this.kpi.data?.title ?? words(detail.kpi)}${detail.series_key ? `: ${seriesName(detail.series_key)}` : ''}</h1>
          <p class="facts">
            ${verdictMark(detail.verdict)} ${severityMark(detail.severity)} <span class="tag">${detail.state}</span>
            <span>${detail.owner ? words(detail.owner) : 'no owner'}</span>
            <span class="quiet">detected ${ago(detail.detected_at, present())}</span>
          </p>
          <p class="reason-line">${detail.reason}</p>
        </div>
        <p class="page-links"><a href=${href(['kpis', detail.kpi], { series: detail.series_key })}>Open the KPI</a></p>
      </div>
      <section aria-labelledby="loop-title">
        <h2 id="loop-title">From event to effect</h2>
        ${loopTimeline(detail.loop, present())}
      </section>
      <div class="columns wide-first">
        <section aria-labelledby="excerpt-title">
          <h2 id="excerpt-title">What happened</h2>
          ${this.chart(detail)}
          <dl class="figures-list">
            <div><dt>Value</dt><dd>${figureText(detail.value, unit)}</dd></div>
            <div><dt>Furthest</dt><dd>${figureText(detail.peak, unit)}</dd></div>
            <div><dt>Limits</dt><dd>${detail.low === null ? '' : `from ${figureText(detail.low, unit)} `}${detail.high === null ? '' : `to ${figureText(detail.high, unit)}`}</dd></div>
            <div><dt>Beyond for</dt><dd>${count(detail.windows, 'window')}</dd></div>
            <div><dt>Suspect events</dt><dd>${detail.suspect_share === null ? 'not assessed' : percent(detail.suspect_share, 1)}</dd></div>
            <div><dt>Rule</dt><dd>${detail.rule} (${detail.kind})</dd></div>
          </dl>
          ${this.history(detail)}
        </section>
        <section aria-labelledby="response-title">
          <h2 id="response-title">What is done about it</h2>
          ${this.escalation(detail)} ${this.acknowledging(detail)}
          ${detail.playbook_runs.map((run) => html`<sx-playbook .run=${run} @done=${() => void this.reload()}></sx-playbook>`)}
          <sx-decide .signal=${detail} .unit=${unit} .title=${this.kpi.data?.title ?? detail.kpi} @done=${() => void this.reload()}></sx-decide>
          ${this.decided()}
        </section>
      </div>
    `
  }

  private chart(detail: SignalDetail): unknown {
    const kpi = this.kpi.data
    if (!kpi) return this.kpi.problem ? failure(this.kpi.problem, () => void this.kpi.reload()) : skeleton(6)
    return loaded(this.excerpt, 6, (page) => html`<sx-chart
      .data=${chartData(page.items, page.expectations, cadence(kpi.window))}
      .marks=${marksFor(kpi, { signals: [detail], annotations: [], decisions: [] })}
      .title=${kpi.title}
      .unit=${kpi.unit}
      .points=${kpi.window.kind === 'session'}
      .stale=${live.lostAt !== null}
    ></sx-chart>`)
  }

  private history({ history }: SignalDetail): TemplateResult {
    return html`<details>
      <summary>${count(history.length, 'change')} of this signal</summary>
      <ol class="rows">
        ${history.map(
          (each) => html`<li>${verdictMark(each.verdict)}<span>${each.change}, ${time(each.last_window)}: ${each.reason}</span><span class="quiet">${instant(each.recorded_at)}</span></li>`,
        )}
      </ol>
    </details>`
  }

  private escalation({ escalations, verdict }: SignalDetail): TemplateResult {
    if (!escalations.length) {
      return html`<p class="quiet">${verdict === 'sustained' ? 'No escalation has begun yet.' : 'Not escalated: only a sustained signal is, unless the team asks for more.'}</p>`
    }
    return html`<ul class="rows">
      ${escalations.map(
        (each) => html`<li>
          ${mark(each.stopped_at || each.acknowledged_at ? 'good' : 'warning', each.state)}
          <span>
            ${words(each.team)}, step ${each.step}.
            ${each.acknowledged_at ? `Acknowledged by ${each.acknowledged_by ?? 'somebody'}, ${instant(each.acknowledged_at)}.` : nothing}
            ${each.next_at && !each.stopped_at ? `Next step ${instant(each.next_at)}.` : nothing}
          </span>
        </li>`,
      )}
    </ul>`
  }

  private acknowledging(detail: SignalDetail): TemplateResult {
    if (detail.loop?.acknowledged_at) {
      return html`<p>${mark('good', html`Acknowledged ${ago(detail.loop.acknowledged_at, present())}`)}</p>`
    }
    return html`<form class="inline-form" @submit=${(event: Event) => event.preventDefault()}>
      <label>Note <input name="note" maxlength="2000" placeholder="optional: what you will do" /></label>
      ${permittedButton('acknowledge', this.busy ? 'Acknowledging …' : 'Acknowledge', () => void this.acknowledge(), { busy: this.busy, primary: true })}
      ${this.problem ? failure(this.problem) : nothing}
    </form>`
  }

  private decided(): unknown {
    return loaded(this.decisions, 1, ({ items }) =>
      items.length
        ? html`<h3>Decisions on this signal</h3>
            <ul class="rows">
              ${items.map(
                (each) => html`<li><b class="letter accent">D</b><a href=${href(['decisions', each.id])}>${each.title}</a><span class="quiet">${each.decided_by}, ${instant(each.decided_at)}</span></li>`,
              )}
            </ul>`
        : nothing,
    )
  }

  private async acknowledge(): Promise<void> {
    const note = this.querySelector<HTMLInputElement>('input[name=note]')?.value ?? ''
    this.busy = true
    this.problem = undefined
    try {
      await acknowledge(this.signal, note)
      await this.reload()
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      this.problem = error
    } finally {
      this.busy = false
    }
  }

  private async reload(): Promise<void> {
    await Promise.all([this.detail.reload(), this.decisions.reload()])
  }

  private found(detail: SignalDetail): void {
    if (this.kpi.data?.id === detail.kpi) void this.excerpt.reload()
    else void this.kpi.reload()
  }

  private readExcerpt(signal: AbortSignal): Promise<ObservationPage> {
    const detail = this.detail.data as SignalDetail
    const around = AROUND * (cadence((this.kpi.data as KpiDetail).window) ?? 3600) * 1000
    return listObservations(
      detail.kpi,
      {
        series: detail.series_key,
        from: new Date(Date.parse(detail.first_window) - around).toISOString(),
        to: new Date(Date.parse(detail.last_window) + around).toISOString(),
        limit: 2000,
      },
      signal,
    )
  }

  /** Of what is heard on the channels only this signal's own is of interest. */
  private heard(data: unknown): void {
    const { id, signal } = data as { id?: string; signal?: string }
    if (id !== this.signal && signal !== this.signal) return
    this.detail.reloadSoon(RELOAD_MS)
    this.decisions.reloadSoon(RELOAD_MS)
  }
}
