/** Addresses live in the fragment (`#/kpis/x?as_of=…`): every screen is a link, and the server need not know any. */

export interface Route {
  path: string[]
  query: URLSearchParams
}

export function route(): Route {
  const [path = '', query = ''] = location.hash.replace(/^#\/?/, '').split(/\?(.*)/s)
  return { path: path.split('/').filter(Boolean).map(decodeURIComponent), query: new URLSearchParams(query) }
}

export function href(path: string[], query: Record<string, string | null | undefined> = {}): string {
  const parameters = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) if (value) parameters.set(name, value)
  const text = parameters.toString()
  return `#/${path.map(encodeURIComponent).join('/')}${text ? `?${text}` : ''}`
}

/** The present address with some parameters changed; null removes one. */
export function withQuery(changes: Record<string, string | null>): string {
  const { path, query } = route()
  return href(path, { ...Object.fromEntries(query), ...changes })
}

export function go(address: string): void {
  location.hash = address
}

/** Change parameters without a step in the history: for pickers that change often. */
export function adjust(changes: Record<string, string | null>): void {
  history.replaceState(null, '', withQuery(changes))
  window.dispatchEvent(new HashChangeEvent('hashchange'))
}
