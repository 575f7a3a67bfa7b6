export type Theme = 'auto' | 'light' | 'dark'

const KEY = 'sextant.theme'
const NEXT: Record<Theme, Theme> = { auto: 'light', light: 'dark', dark: 'auto' }

export function theme(): Theme {
  const kept = localStorage.getItem(KEY)
  return kept === 'light' || kept === 'dark' ? kept : 'auto'
}

export function applyTheme(): void {
  document.documentElement.dataset['theme'] = theme()
  window.dispatchEvent(new Event('sextant-theme'))
}

export function nextTheme(): void {
  localStorage.setItem(KEY, NEXT[theme()])
  applyTheme()
}

const computed = new Map<string, string>()
window.addEventListener('sextant-theme', () => computed.clear())
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => computed.clear())

/** A token as the canvas needs it: computed, whatever the scheme. */
export function colour(token: string): string {
  const known = computed.get(token)
  if (known) return known
  const probe = document.createElement('span')
  probe.style.color = `var(--${token})`
  document.body.append(probe)
  const value = getComputedStyle(probe).color
  probe.remove()
  computed.set(token, value)
  return value
}
