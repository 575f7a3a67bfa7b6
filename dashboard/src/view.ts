import { LitElement } from 'lit'

/** How often a screen that is fed by the stream may be drawn anew: quick to the eye, calm to the processor. */
const CALM_MS = 250

/**
 * Every component renders into the document itself: one stylesheet, labels and descriptions that refer to
 * each other across components, and nothing that a content security policy would have to allow.
 */
export abstract class View extends LitElement {
  private pending = 0

  protected override createRenderRoot(): HTMLElement {
    return this
  }

  /** Draw soon, many changes at once. */
  protected soon(): void {
    if (this.pending) return
    this.pending = window.setTimeout(() => {
      this.pending = 0
      this.requestUpdate()
    }, CALM_MS)
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    clearTimeout(this.pending)
    this.pending = 0
  }
}
