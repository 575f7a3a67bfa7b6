/** The running stack that the browser tests are given by their environment, and people in front of it. */
import { createServer, type Server, type Socket, connect } from 'node:net'
import { mkdirSync } from 'node:fs'
import axe from 'axe-core'
import { type Browser, chromium, type Page } from 'playwright-core'
import { expect } from 'vitest'

type Person = 'lena' | 'ana' | 'stew' | 'vic'

function given(name: string): string {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set: the browser tests run against a stack, see tests/system/test_dashboard.py`)
  return value
}

export const GATEWAY = given('SEXTANT_GATEWAY_URL')
const PASSWORDS = JSON.parse(given('SEXTANT_PASSWORDS')) as Record<Person, string>

export function launch(): Promise<Browser> {
  return chromium.launch({ executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium', args: ['--no-sandbox'] })
}

export interface Visit {
  at?: string
  colours?: 'light' | 'dark'
  width?: number
  gateway?: string
}

/** A page of its own on which somebody is signed in. Whatever the page complains of is an error of the test. */
export async function signedIn(browser: Browser, person: Person, visit: Visit = {}): Promise<Page> {
  const page = await browser.newPage({
    viewport: { width: visit.width ?? 1280, height: 900 },
    colorScheme: visit.colours ?? 'light',
  })
  page.setDefaultTimeout(30_000)
  page.on('pageerror', (error) => {
    throw error
  })
  await page.goto(`${visit.gateway ?? GATEWAY}/${visit.at ?? '#/'}`)
  await page.fill('input[name=username]', person)
  await page.fill('input[name=password]', PASSWORDS[person])
  await page.keyboard.press('Enter')
  await page.waitForSelector('header.frame')
  return page
}

export async function loaded(page: Page): Promise<void> {
  await page.waitForFunction(() => !document.querySelector('main .skeleton, dialog .skeleton'))
}

export async function visit(page: Page, address: string): Promise<void> {
  await page.evaluate((hash) => {
    location.hash = hash
  }, address)
  await loaded(page)
}

export async function expectAccessible(page: Page): Promise<void> {
  await page.evaluate(axe.source)
  const found = (await page.evaluate(
    "axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })",
  )) as axe.AxeResults
  expect(found.violations.map((each) => ({ rule: each.id, where: each.nodes.map((node) => node.html.slice(0, 160)) }))).toEqual([])
}

export async function picture(page: Page, name: string): Promise<void> {
  const folder = process.env['SEXTANT_SCREENSHOTS']
  if (!folder) return
  mkdirSync(folder, { recursive: true })
  await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true })
}

/** The public API as a person, for what a test has to know beforehand. */
export async function api<T>(person: Person, path: string): Promise<T> {
  const signIn = await fetch(`${GATEWAY}/v1/token`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ grant_type: 'password', username: person, password: PASSWORDS[person] }),
  })
  const { access_token: token } = (await signIn.json()) as { access_token: string }
  const answer = await fetch(`${GATEWAY}/v1/${path}`, { headers: { authorization: `Bearer ${token}` } })
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`)
  return (await answer.json()) as T
}

/** A cable to the gateway that a test can pull out and plug in again. */
export class Cable {
  private server: Server | null = null
  private readonly sockets = new Set<Socket>()
  private port = 0

  async plug(): Promise<string> {
    const { hostname, port } = new URL(GATEWAY)
    this.server = createServer((near) => {
      const far = connect(Number(port), hostname)
      for (const socket of [near, far]) {
        this.sockets.add(socket)
        socket.on('error', () => socket.destroy())
        socket.on('close', () => {
          this.sockets.delete(socket)
          near.destroy()
          far.destroy()
        })
      }
      near.pipe(far).pipe(near)
    })
    await new Promise<void>((resolve) => this.server?.listen(this.port, '127.0.0.1', resolve))
    this.port = (this.server.address() as { port: number }).port
    return `http://127.0.0.1:${this.port}`
  }

  async pull(): Promise<void> {
    const closed = new Promise((resolve) => this.server?.close(resolve))
    for (const socket of this.sockets) socket.destroy()
    await closed
  }
}
