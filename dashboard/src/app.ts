import { html, nothing, type PropertyValues, type TemplateResult } from 'lit'
import { customElement } from 'lit/decorators.js'
import { keyed } from 'lit/directives/keyed.js'
import { live } from './live.ts'
import { href, route } from './router.ts'
import { session } from './session.ts'
import { applyTheme, nextTheme, theme } from './theme.ts'
import { View } from './view.ts'
import './parts/connection.ts'
import './parts/why.ts'
import './views/audit.ts'
import './views/decision.ts'
import './views/decisions.ts'
import './views/kpi.ts'
import './views/overview.ts'
import './views/quality.ts'
import './views/sign-in.ts'
import './views/signal.ts'
import './views/signals.ts'
import './views/source.ts'

interface Screen {
  title: string
  render: (id: string) => TemplateResult
}

const SCREENS: Record<string, { list: Screen; one?: Screen }> = {
  '': { list: { title: 'Overview', render: () => html`<sx-overview></sx-overview>` } },
  kpis: {
    list: { title: 'Overview', render: () => html`<sx-overview></sx-overview>` },
    one: { title: 'KPI', render: (id) => html`<sx-kpi .kpi=${id}></sx-kpi>` },
  },
  signals: {
    list: { title: 'Signals', render: () => html`<sx-signals></sx-signals>` },
    one: { title: 'Signal', render: (id) => html`<sx-signal .signal=${id}></sx-signal>` },
  },
  decisions: {
    list: { title: 'Decisions', render: () => html`<sx-decisions></sx-decisions>` },
    one: { title: 'Decision', render: (id) => html`<sx-decision .decision=${id}></sx-decision>` },
  },
  quality: {
    list: { title: 'Quality', render: () => html`<sx-quality></sx-quality>` },
    one: { title: 'Source', render: (id) => html`${keyed(id, html`<sx-source .source=${id}></sx-source>`)}` },
  },
  audit: { list: { title: 'Audit', render: () => html`<sx-audit></sx-audit>` } },
}

const NAVIGATION = [
  { path: '', title: 'Overview' },
  { path: 'signals', title: 'Signals' },
  { path: 'decisions', title: 'Decisions' },
  { path: 'quality', title: 'Quality' },
  { path: 'audit', title: 'Audit', permission: 'audit' },
]

/** The frame around every screen: who is signed in, where one is, whether the values are live. */
@customElement('sx-app')
export class App extends View {
  private shown = ''
  private readonly redraw = () => this.requestUpdate()

  override connectedCallback(): void {
    super.connectedCallback()
    applyTheme()
    window.addEventListener('hashchange', this.redraw)
    session.addEventListener('change', this.sessionChanged)
    if (session.token) live.start()
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    window.removeEventListener('hashchange', this.redraw)
    session.removeEventListener('change', this.sessionChanged)
  }

  private readonly sessionChanged = (): void => {
    if (session.token) live.start()
    else live.stop()
    this.requestUpdate()
  }

  protected override render(): TemplateResult {
    if (!session.me) return html`<sx-sign-in></sx-sign-in>`
    const { path } = route()
    const [section = '', id] = path
    const screens = SCREENS[section]
    const screen = id === undefined ? screens?.list : screens?.one
    return html`
      <a class="skip" href="#main" @click=${this.skip}>Skip to the content</a>
      ${this.header(section)}
      <sx-connection></sx-connection>
      <main id="main" tabindex="-1">${screen ? screen.render(id ?? '') : this.lost()}</main>
      <sx-why></sx-why>
    `
  }

  protected override updated(_changed: PropertyValues): void {
    const { path } = route()
    const [section = '', id] = path
    const title = session.me ? (SCREENS[section]?.[id === undefined ? 'list' : 'one']?.title ?? 'Not found') : 'Sign in'
    document.title = `${title} · Sextant`
    const place = path.join('/')
    // A new screen is read from its start; the first one keeps the browser's own focus.
    if (this.shown !== '' && this.shown !== `/${place}`) {
      this.querySelector<HTMLElement>('#main')?.focus({ preventScroll: true })
      window.scrollTo(0, 0)
    }
    this.shown = `/${place}`
  }

  private header(section: string): TemplateResult {
    const { me } = session
    const here = section === 'kpis' ? '' : section
    return html`<header class="frame">
      <a class="brand" href="#/"><img src="./icon.svg" alt="" width="24" height="24" />Sextant</a>
      <nav aria-label="Main">
        ${NAVIGATION.filter(({ permission }) => !permission || session.may(permission)).map(
          ({ path, title }) =>
            html`<a href=${href(path ? [path] : [])} aria-current=${path === here ? 'page' : nothing}>${title}</a>`,
        )}
      </nav>
      <div class="frame-tools">
        <sx-pause></sx-pause>
        <button type="button" class="plain" @click=${this.turnTheme} title="Change between light, dark and the system's choice">
          <span class="wide-only">Theme: </span>${theme()}
        </button>
        <div class="person">
          <strong>${me?.name}</strong>
          <span class="quiet">${me?.roles.join(', ')}${me?.department ? ` · ${me.department}` : ''}</span>
        </div>
        <button type="button" class="plain" @click=${() => session.end()}>Sign out</button>
      </div>
    </header>`
  }

  private lost(): TemplateResult {
    return html`<div class="empty"><h1>There is no such screen</h1><a href="#/">To the overview</a></div>`
  }

  private readonly turnTheme = (): void => {
    nextTheme()
    this.requestUpdate()
  }

  private readonly skip = (event: Event): void => {
    // The fragment belongs to the router, so the link moves the focus itself.
    event.preventDefault()
    this.querySelector<HTMLElement>('#main')?.focus()
  }
}
