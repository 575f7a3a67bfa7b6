import { html, nothing, type ReactiveControllerHost, type TemplateResult } from 'lit'
import { Problem } from './http.ts'
import { Load } from './load.ts'
import { failure } from './states.ts'

interface Page {
  items: { id: string }[]
  next_page_token?: string | null
}

/** A list read page by page. The first page may be read again at any time without losing the older ones. */
export class Pages<P extends Page> {
  readonly first: Load<P>
  private older: P['items'] = []
  private next: string | null = null
  private problem: Problem | undefined
  private busy = false
  private before: P['items'] = []

  constructor(
    private readonly host: ReactiveControllerHost,
    private readonly fetcher: (pageToken: string | null, signal?: AbortSignal) => Promise<P>,
    onReady?: (page: P) => void,
  ) {
    this.first = new Load(
      host,
      (signal) => fetcher(null, signal),
      (page) => {
        this.settle(page)
        onReady?.(page)
      },
    )
  }

  get items(): P['items'] {
    return [...(this.first.data?.items ?? []), ...this.older]
  }

  get complete(): boolean {
    return this.next === null
  }

  /** Another list: other filters. */
  restart(): void {
    this.older = []
    this.before = []
    this.next = null
    this.problem = undefined
    this.first.clear()
    void this.first.reload()
  }

  /** The button for the next page, while there is one. */
  moreButton(label: string): TemplateResult {
    return html`${this.problem ? failure(this.problem, () => void this.more()) : nothing}
    ${this.next === null
      ? nothing
      : html`<p class="pager"><button type="button" ?disabled=${this.busy} @click=${() => void this.more()}>${this.busy ? 'Loading …' : label}</button></p>`}`
  }

  private settle(page: P): void {
    if (this.older.length) {
      // What newer entries pushed off the first page goes on top of the older ones.
      const present = new Set(page.items.map((each) => each.id))
      const known = new Map([...this.before, ...this.older].map((each) => [each.id, each]))
      this.older = [...known.values()].filter((each) => !present.has(each.id))
    } else {
      this.next = page.next_page_token ?? null
    }
    this.before = page.items
  }

  private async more(): Promise<void> {
    this.busy = true
    this.host.requestUpdate()
    try {
      const page = await this.fetcher(this.next)
      this.older = [...this.older, ...page.items]
      this.next = page.next_page_token ?? null
      this.problem = undefined
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      this.problem = error
    } finally {
      this.busy = false
      this.host.requestUpdate()
    }
  }
}
