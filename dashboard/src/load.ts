import type { ReactiveController, ReactiveControllerHost } from 'lit'
import { Problem } from './http.ts'

/**
 * One thing that a view loads. What was loaded before stays on the screen while it is loaded again, and also
 * when that fails, then marked as such.
 */
export class Load<T> implements ReactiveController {
  data: T | undefined
  problem: Problem | undefined
  loading = false
  private abort: AbortController | undefined
  private timer = 0

  constructor(
    private readonly host: ReactiveControllerHost,
    private readonly fetcher: (signal: AbortSignal) => Promise<T>,
    private readonly onReady?: (data: T) => void,
  ) {
    host.addController(this)
  }

  hostDisconnected(): void {
    this.abort?.abort()
    clearTimeout(this.timer)
    this.timer = 0
  }

  /** Forget what was loaded: it belonged to another subject. */
  clear(): void {
    this.abort?.abort()
    this.data = undefined
    this.problem = undefined
  }

  /** Load again after a while; what else asks for it until then is served by the same load. */
  reloadSoon(ms: number): void {
    if (this.timer) return
    this.timer = window.setTimeout(() => {
      this.timer = 0
      void this.reload()
    }, ms)
  }

  async reload(): Promise<void> {
    this.abort?.abort()
    const abort = new AbortController()
    this.abort = abort
    this.loading = true
    this.host.requestUpdate()
    try {
      const data = await this.fetcher(abort.signal)
      if (abort.signal.aborted) return
      this.data = data
      this.problem = undefined
      this.onReady?.(data)
    } catch (error) {
      if (abort.signal.aborted) return
      if (!(error instanceof Problem)) throw error
      this.problem = error
    } finally {
      if (this.abort === abort) this.loading = false
      this.host.requestUpdate()
    }
  }
}
