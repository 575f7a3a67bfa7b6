import type { components } from './client.gen.ts'

type Me = components['schemas']['Me']
type Token = components['schemas']['Token']

const KEY = 'sextant.session'

/** Who is signed in. Kept for the tab (sessionStorage), never for the browser. */
class Session extends EventTarget {
  token: string | null = null
  me: Me | null = null
  /** Why the last session ended, for the sign-in page. */
  ended = ''

  constructor() {
    super()
    const kept = sessionStorage.getItem(KEY)
    if (!kept) return
    const { token, me } = JSON.parse(kept) as { token: string; me: Me }
    if (Date.parse(me.expires_at) > Date.now()) Object.assign(this, { token, me })
    else this.ended = 'Your session has ended. Sign in again to go on where you were.'
  }

  begin(token: Token, me: Me): void {
    Object.assign(this, { token: token.access_token, me, ended: '' })
    sessionStorage.setItem(KEY, JSON.stringify({ token: this.token, me }))
    this.dispatchEvent(new Event('change'))
  }

  end(reason = ''): void {
    if (!this.token) return
    Object.assign(this, { token: null, me: null, ended: reason })
    sessionStorage.removeItem(KEY)
    this.dispatchEvent(new Event('change'))
  }

  may(permission: string): boolean {
    return this.me?.permissions.includes(permission) ?? false
  }

  /** Why something is not offered, in words; empty if it is. */
  reasonAgainst(permission: string): string {
    if (this.may(permission)) return ''
    return `Needs the permission “${permission}”, which your role (${this.me?.roles.join(', ') ?? 'none'}) does not have.`
  }
}

export const session = new Session()
