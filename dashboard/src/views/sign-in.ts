import { html, nothing, type TemplateResult } from 'lit'
import { customElement, state } from 'lit/decorators.js'
import { signIn } from '../api.ts'
import { Problem } from '../http.ts'
import { session } from '../session.ts'
import { View } from '../view.ts'

@customElement('sx-sign-in')
export class SignIn extends View {
  @state() private problem: Problem | undefined
  @state() private busy = false

  protected override firstUpdated(): void {
    this.querySelector<HTMLInputElement>('input')?.focus()
  }

  protected override render(): TemplateResult {
    const wrong = this.problem && this.problem.status > 0 && this.problem.status < 500
    return html`<main class="sign-in" id="main">
      <form @submit=${this.submit} aria-labelledby="sign-in-title">
        <img src="./icon.svg" alt="" width="44" height="44" />
        <h1 id="sign-in-title">Sextant</h1>
        <p class="quiet">Strategic monitoring, from event to decision</p>
        ${session.ended ? html`<p class="notice" role="status">${session.ended}</p>` : nothing}
        <label>Name <input name="username" autocomplete="username" autocapitalize="none" spellcheck="false" required aria-describedby=${this.problem ? 'sign-in-problem' : nothing} /></label>
        <label>Password <input name="password" type="password" autocomplete="current-password" required aria-describedby=${this.problem ? 'sign-in-problem' : nothing} /></label>
        ${this.problem
          ? html`<p class="form-problem" id="sign-in-problem" role="alert">
              ${wrong && this.problem.status === 401 ? 'Name or password is not right.' : this.problem.title}
              ${this.problem.status === 401 ? nothing : html`<span>${this.problem.detail}</span>`}
            </p>`
          : nothing}
        <button type="submit" class="primary" ?disabled=${this.busy}>${this.busy ? 'Signing in …' : 'Sign in'}</button>
      </form>
    </main>`
  }

  private readonly submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault()
    const fields = new FormData(event.target as HTMLFormElement)
    this.busy = true
    this.problem = undefined
    try {
      await signIn(String(fields.get('username')).trim(), String(fields.get('password')))
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      this.problem = error
      this.querySelector<HTMLInputElement>('input[name=password]')?.select()
    } finally {
      this.busy = false
    }
  }
}
