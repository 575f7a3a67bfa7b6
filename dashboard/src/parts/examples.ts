import { html, nothing, type TemplateResult } from 'lit'
import { customElement, property, state } from 'lit/decorators.js'
import { readExamples } from '../api.ts'
import { Load } from '../load.ts'
import { loaded } from '../states.ts'
import { View } from '../view.ts'

const LANGUAGES = { curl: 'curl', python: 'Python' } as const
type Language = keyof typeof LANGUAGES

/** How to send an event to a source, to be copied. */
@customElement('sx-examples')
export class Examples extends View {
  @property() source = ''
  @state() private language: Language = 'curl'
  @state() private copied = ''
  private readonly found = new Load(this, (signal) => readExamples(this.source, signal))

  override connectedCallback(): void {
    super.connectedCallback()
    void this.found.reload()
  }

  protected override render(): TemplateResult {
    return html`<div class="segments" role="group" aria-label="Language of the example">
        ${(Object.keys(LANGUAGES) as Language[]).map(
          (each) => html`<button type="button" aria-pressed=${each === this.language} @click=${() => this.show(each)}>${LANGUAGES[each]}</button>`,
        )}
      </div>
      ${loaded(this.found, 4, (found) => {
        const text = found[this.language]
        return html`<pre class="example" tabindex="0" aria-label="Example with ${LANGUAGES[this.language]}"><code>${text}</code></pre>
          <p class="facts">
            <button type="button" @click=${() => void this.copy(text)}>Copy</button>
            <span role="status">${this.copied || nothing}</span>
          </p>
          ${found.needs.map((need) => html`<p class="quiet note">${need}</p>`)}`
      })}`
  }

  private show(language: Language): void {
    this.language = language
    this.copied = ''
  }

  private async copy(text: string): Promise<void> {
    try {
      await navigator.clipboard.writeText(text)
      this.copied = 'Copied'
    } catch {
      this.copied = 'The browser does not let it be copied: select the text'
    }
  }
}
