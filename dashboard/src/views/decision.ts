import { html, nothing, type PropertyValues, type TemplateResult } from 'lit'
import { customElement, property, state } from 'lit/decorators.js'
import { type DecisionExplained, explainDecision, type KpiDetail, markDecision, type Observation, readKpi, type SignalItem } from '../api.ts'
import { cadence, chartData } from '../chart-data.ts'
import { figureText, instant, seriesName, time, words } from '../format.ts'
import { Problem } from '../http.ts'
import { Following, present } from '../live.ts'
import { Load } from '../load.ts'
import { count, icon, mark, severityMark, verdictMark } from '../marks.ts'
import { loopTimeline } from '../parts/loop.ts'
import { href } from '../router.ts'
import { failure, loaded, permittedButton } from '../states.ts'
import { View } from '../view.ts'
import { marksFor } from './kpi-marks.ts'
import '../parts/chart.ts'

const RELOAD_MS = 1500

/** What the record keeps for a decision: the signal and its windows, as they were known then. */
interface Evidence {
  signal: SignalItem
  observations: Observation[]
}

/** One decision, found again: what was chosen, exactly what was seen, and what has become of it. */
@customElement('sx-decision')
export class DecisionView extends View {
  @property() decision = ''
  @state() private problem: Problem | undefined
  @state() private busy = false
  private readonly following = new Following(this)
  private readonly explained = new Load<DecisionExplained>(
    this,
    (signal) => explainDecision(this.decision, signal),
    ({ decision }) => {
      if (decision.kpi && !this.kpi.data) void this.kpi.reload()
    },
  )
  private readonly kpi = new Load<KpiDetail>(this, (signal) => readKpi(this.explained.data?.decision.kpi ?? '', signal))

  protected override willUpdate(changed: PropertyValues): void {
    if (!changed.has('decision')) return
    this.explained.clear()
    this.kpi.clear()
    void this.explained.reload()
    const again = (): void => this.explained.reloadSoon(RELOAD_MS)
    this.following.on('actions', null, { onFrame: again, onGap: again }, 1)
  }

  protected override render(): TemplateResult {
    return html`<p class="crumbs"><a href=${href(['decisions'])}>Decisions</a> / Decision</p>
      ${loaded(this.explained, 10, (explained) => this.content(explained))}`
  }

  private content(explained: DecisionExplained): TemplateResult {
    const { decision, signal } = explained
    return html`
      <div class="page-head">
        <div>
          <h1>${decision.title}</h1>
          <p class="facts">
            <span>${decision.decided_by}</span><span class="quiet">decided ${instant(decision.decided_at)} UTC</span>
            ${decision.kpi ? html`<a href=${href(['kpis', decision.kpi], signal ? { series: signal.series_key } : {})}>${this.kpi.data?.title ?? words(decision.kpi)}</a>` : nothing}
            ${decision.signal ? html`<a href=${href(['signals', decision.signal])}>the signal</a>` : nothing}
          </p>
        </div>
      </div>
      <div class="columns wide-first">
        <section aria-labelledby="seen-title">
          <h2 id="seen-title">What was seen</h2>
          ${this.seal(explained)} ${this.seen(decision.evidence as unknown as Evidence, decision.masked)}
        </section>
        <section aria-labelledby="decided-title">
          <h2 id="decided-title">What was decided</h2>
          <dl class="prose">
            <dt>Choice</dt><dd>${decision.choice}</dd>
            <dt>Rationale</dt><dd>${decision.rationale || html`<span class="quiet">not stated</span>`}</dd>
            <dt>Expected effect</dt><dd>${decision.expected || html`<span class="quiet">not stated</span>`}</dd>
          </dl>
          ${signal ? this.since(explained) : nothing}
        </section>
      </div>
    `
  }

  /** Two checks: the stored evidence is what was hashed, and the record still gives the same evidence. */
  private seal({ decision, agrees, stored_intact: intact }: DecisionExplained): TemplateResult {
    return html`<ul class="seal">
      <li>${intact ? mark('good', 'Unchanged: the stored evidence has the hash kept with the decision') : mark('bad', 'The stored evidence does not have the hash kept with the decision')}</li>
      <li>${agrees ? mark('good', html`Rebuilt from the record as known at ${instant(decision.as_of)}: the same`) : mark('warning', html`Rebuilt from the record as known at ${instant(decision.as_of)}: not the same`)}</li>
      <li class="quiet">SHA-256 <code>${decision.evidence_hash}</code></li>
    </ul>`
  }

  private seen({ signal, observations }: Evidence, masked: string[]): TemplateResult {
    const kpi = this.kpi.data
    const unit = kpi?.unit ?? ''
    return html`<p class="facts">${verdictMark(signal.verdict)} ${severityMark(signal.severity)} <span>${seriesName(signal.series_key)}</span> <span class="quiet">after ${count(signal.windows, 'window')}</span></p>
      <p class="reason-line">${signal.reason}</p>
      ${masked.length ? html`<p class="mask-note">${icon('quality_artefact')}Masked for your role: ${masked.join(', ')}</p>` : nothing}
      ${kpi && observations.length
        ? html`<sx-chart
            .data=${chartData(observations, [], cadence(kpi.window))}
            .marks=${marksFor(kpi, { signals: [signal], annotations: [], decisions: [] })}
            .title=${`${kpi.title}, as it was seen`}
            .unit=${unit}
            .points=${true}
          ></sx-chart>`
        : nothing}
      <dl class="figures-list">
        <div><dt>Value then</dt><dd>${figureText(signal.value, unit)}</dd></div>
        <div><dt>Furthest</dt><dd>${figureText(signal.peak, unit)}</dd></div>
        <div><dt>Limits</dt><dd>${signal.low === null ? '' : `from ${figureText(signal.low, unit)} `}${signal.high === null ? '' : `to ${figureText(signal.high, unit)}`}</dd></div>
        <div><dt>Windows seen</dt><dd>${observations.length}</dd></div>
      </dl>`
  }

  private since({ signal }: DecisionExplained): TemplateResult | typeof nothing {
    if (!signal) return nothing
    const { loop } = signal
    return html`<h3>What has become of it</h3>
      <p class="facts">${verdictMark(signal.verdict)} <span class="tag">${signal.state}</span><span class="quiet">last beyond its limits ${time(signal.last_window)}</span></p>
      <div class="loop-tall">${loopTimeline(loop, present())}</div>
      <p class="buttons">
        ${loop?.dispatched_at ? nothing : permittedButton('decide', 'Mark as dispatched', () => void this.marked('dispatched'), { busy: this.busy })}
        ${loop?.dispatched_at && !loop.executed_at
          ? permittedButton('decide', 'Mark as executed', () => void this.marked('executed'), { busy: this.busy })
          : nothing}
      </p>
      ${this.problem ? failure(this.problem) : nothing}`
  }

  private async marked(step: 'dispatched' | 'executed'): Promise<void> {
    this.busy = true
    this.problem = undefined
    try {
      await markDecision(this.decision, step)
      await this.explained.reload()
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      this.problem = error
    } finally {
      this.busy = false
    }
  }
}
