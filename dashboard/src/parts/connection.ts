import { html, nothing, type TemplateResult } from 'lit'
import { customElement } from 'lit/decorators.js'
import { duration } from '../format.ts'
import { Following, live } from '../live.ts'
import { icon } from '../marks.ts'
import { View } from '../view.ts'

const RESUMED_SHOWN_MS = 4000

/** Says when what is on the screen is not live, since when, and what happens next. Nothing while all is well. */
@customElement('sx-connection')
export class ConnectionBanner extends View {
  protected readonly following = new Following(this, 500)

  protected override render(): TemplateResult | typeof nothing {
    const { connection, lostAt, pausedAt } = live
    if (pausedAt !== null) {
      return html`<div class="banner banner-paused" role="status">
        ${icon('stale')}
        <span>Paused by you. Values stand still; updates are kept and shown when you resume.</span>
        <button type="button" @click=${() => live.resume()}>Resume</button>
      </div>`
    }
    if (connection.state === 'live') {
      return connection.resumed && Date.now() - connection.since < RESUMED_SHOWN_MS
        ? html`<div class="banner banner-resumed" role="status">${icon('good')}<span>Connected again: nothing was missed.</span></div>`
        : nothing
    }
    if (lostAt === null) return nothing
    return html`<aside class="banner banner-lost" aria-label="Connection">
      ${icon('off')}
      <span role="status">Connection lost. What you see is what was known then, not live.</span>
      <span class="quiet">${this.countdown()}</span>
      <button type="button" @click=${() => live.retryNow()}>Try now</button>
    </aside>`
  }

  /** Outside the status region: a number that counts down must not be read out every second. */
  private countdown(): string {
    const { connection, lostAt } = live
    const since = lostAt === null ? '' : `For ${duration(Date.now() - lostAt)}. `
    if (connection.state !== 'waiting') return `${since}Connecting …`
    return `${since}Next attempt in ${Math.max(0, Math.ceil((connection.retryAt - Date.now()) / 1000))} s`
  }
}

/** Moving content can be stopped (WCAG 2.2.2); what arrives meanwhile is kept. */
@customElement('sx-pause')
export class PauseButton extends View {
  protected readonly following = new Following(this)
  private readonly counted = (): void => this.soon()

  override connectedCallback(): void {
    super.connectedCallback()
    live.addEventListener('waiting', this.counted)
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    live.removeEventListener('waiting', this.counted)
  }

  protected override render(): TemplateResult {
    const paused = live.pausedAt !== null
    const state = live.lostAt !== null ? 'off' : paused ? 'stale' : live.connection.state === 'live' ? 'fresh' : 'unknown'
    const word = live.lostAt !== null ? 'not live' : paused ? 'paused' : live.connection.state === 'live' ? 'live' : 'connecting'
    return html`<span class="mark mark-${state} liveness">${icon(state)}<span>${word}</span></span>
      <button type="button" class="plain" aria-pressed=${paused} @click=${() => (paused ? live.resume() : live.pause())}>
        ${paused ? `Resume${live.waiting ? ` (${live.waiting})` : ''}` : 'Pause'}
      </button>`
  }
}
