import type { Browser, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { api, Cable, expectAccessible, GATEWAY, launch, loaded, picture, signedIn, visit } from './stack.ts'

interface Listed {
  items: { id: string; kpi: string; series_key: string; verdict: string }[]
}

let browser: Browser
let pages: Page[] = []
const opened = async (...asked: [Parameters<typeof signedIn>[1], Parameters<typeof signedIn>[2]?]): Promise<Page> => {
  const page = await signedIn(browser, ...asked)
  pages.push(page)
  return page
}
/** The blizzard's signal at one airport. */
const blizzard = async (origin: string): Promise<string> => {
  const { items } = await api<Listed>('lena', 'signals?kpi=cancellation_rate&verdict=sustained&limit=200')
  const found = items.find((each) => each.series_key === `origin=${origin}`)
  if (!found) throw new Error(`no sustained signal on cancellations at ${origin}`)
  return found.id
}

beforeAll(async () => {
  browser = await launch()
})
afterAll(() => browser.close())
afterEach(async ({ task }) => {
  if (task.result?.state === 'fail') for (const [index, page] of pages.entries()) await picture(page, `failed-${task.name.slice(0, 30)}-${index}`)
  await Promise.all(pages.map((page) => page.close()))
  pages = []
})

describe('signing in', () => {
  it('is refused in words when the password is wrong', async () => {
    const page = await browser.newPage()
    pages.push(page)
    await page.goto(GATEWAY)
    await page.fill('input[name=username]', 'lena')
    await page.fill('input[name=password]', 'wrong')
    await page.click('button[type=submit]')
    await page.getByRole('alert').getByText('Name or password is not right').waitFor()
    await expectAccessible(page)
  })

  it.each([
    { person: 'lena', role: 'leader', audit: false },
    { person: 'ana', role: 'analyst', audit: false },
    { person: 'stew', role: 'steward', audit: true },
    { person: 'vic', role: 'viewer', audit: false },
  ] as const)('shows $person the overview, and the audit only to the steward', async ({ person, role, audit }) => {
    const page = await opened(person)
    await loaded(page)
    expect(await page.locator('.person').innerText()).toContain(role)
    expect(await page.locator('.tile').count()).toBeGreaterThan(0)
    expect(await page.locator('.objective').count()).toBeGreaterThan(0)
    expect(await page.getByRole('navigation').getByText('Audit').count()).toBe(audit ? 1 : 0)
    await picture(page, `overview-${person}`)
  })

  it('leads back to the screen that was asked for', async () => {
    const page = await opened('ana', { at: '#/quality' })
    await page.getByRole('heading', { name: 'Quality', level: 1 }).waitFor()
  })
})

describe('what may not be done', () => {
  it('is shown disabled, with the reason, to those who may not', async () => {
    const page = await opened('vic', { at: `#/signals/${await blizzard('LGA')}` })
    await loaded(page)
    expect(await page.getByRole('button', { name: 'Acknowledge' }).isDisabled()).toBe(true)
    await page.getByText('Needs the permission “decide”').waitFor()
  })

  it('leaves the audit closed by its address too', async () => {
    const page = await opened('vic', { at: '#/audit' })
    await page.getByText('Not for your role').waitFor()
  })

  it('never lets a viewer receive a masked field, and says that it is masked', async () => {
    const page = await opened('vic')
    const received: string[] = []
    page.on('response', async (response) => {
      if (response.url().includes('/v1/')) received.push(await response.text().catch(() => ''))
    })
    page.on('websocket', (socket) => socket.on('framereceived', ({ payload }) => received.push(String(payload))))
    await loaded(page)
    await page.locator('.tile', { hasText: 'Cancellation rate' }).locator('a.value').click()
    await page.locator('dialog .events tbody tr').first().waitFor()
    expect(await page.locator('dialog .events tbody tr').count()).toBeGreaterThan(0)
    expect(await page.locator('dialog .masked').count()).toBeGreaterThan(0)
    expect(received.length).toBeGreaterThan(0)
    // New York's aircraft have registrations of this form; not one may have come over the wire.
    expect(received.flatMap((text) => text.match(/\bN\d{1,5}[A-Z]{0,2}\b/g) ?? [])).toEqual([])
    await picture(page, 'why-vic')
  })
})

describe('a number', () => {
  it('explains itself down to the events that it was counted from', async () => {
    const page = await opened('stew', { at: '#/kpis/cancellation_rate?series=origin%3DEWR&range=7d' })
    await loaded(page)
    await page.locator('.readout').getByText('Why this number?').click()
    await page.locator('dialog[open]').waitFor()
    await loaded(page)
    await page.getByText(/events counted, and [\d,]+ found again/).waitFor()
    expect(await page.locator('dialog .events tbody tr').count()).toBeGreaterThan(0)
    expect(await page.locator('dialog .masked').count()).toBe(0)
    await expectAccessible(page)
    await picture(page, 'why-stew')
  })

  it('is read and explained by keyboard alone', async () => {
    const page = await opened('ana', { at: '#/kpis/cancellation_rate?series=origin%3DEWR&range=7d' })
    await page.locator('.plot[role=slider] canvas').waitFor()
    const plot = page.locator('.plot[role=slider]')
    for (let step = 0; step < 60; step += 1) {
      await page.keyboard.press('Tab')
      if (await plot.evaluate((element) => element === document.activeElement)) break
    }
    await page.keyboard.press('End')
    const last = await plot.getAttribute('aria-valuetext')
    await page.keyboard.press('ArrowLeft')
    await page.keyboard.press('ArrowLeft')
    await page.keyboard.press('ArrowLeft')
    expect(await plot.getAttribute('aria-valuetext')).not.toBe(last)
    // An hour without a flight has nothing to explain.
    while ((await plot.getAttribute('aria-valuetext')) === 'no window here') await page.keyboard.press('ArrowLeft')
    await page.keyboard.press('Enter')
    await page.locator('dialog[open]').waitFor()
    await page.keyboard.press('Escape')
    await expect.poll(() => page.url()).not.toContain('why=')
    expect(await page.locator('dialog[open]').count()).toBe(0)
  })
})

describe('the live stream', () => {
  it('moves the values on the screen as events come in, and says so when it is cut and when it is back', async () => {
    const cable = new Cable()
    const page = await opened('ana', { gateway: await cable.plug() })
    await page.locator('.liveness', { hasText: 'live' }).waitFor()
    await loaded(page)
    const tile = page.locator('.tile', { hasText: 'Cancellation rate' })
    const facts = (): Promise<string> => tile.locator('.tile-body, .tile-facts').allInnerTexts().then((texts) => texts.join(' '))
    const before = await facts()
    await expect.poll(facts, { timeout: 60_000 }).not.toBe(before)

    await cable.pull()
    await page.getByText('Connection lost.').waitFor()
    await page.locator('.tile.unlive').first().waitFor()
    await page.getByText(/not live: value is/).first().waitFor()
    await expectAccessible(page)
    await picture(page, 'lost')

    const cut = await facts()
    await cable.plug()
    const isLive = page.locator('.liveness', { hasText: /^live$/ }).waitFor()
    await Promise.race([page.getByRole('button', { name: 'Try now' }).click(), isLive]) // it may try by itself just now
    await isLive
    await page.waitForFunction(() => !document.querySelector('.tile.unlive .mark-off'))
    await expect.poll(facts, { timeout: 60_000 }).not.toBe(cut)
    await cable.pull()
  })

  it('stands still while it is paused, and goes on with what came meanwhile', async () => {
    const page = await opened('ana')
    await page.locator('.liveness', { hasText: 'live' }).waitFor()
    await loaded(page)
    await page.getByRole('button', { name: 'Pause' }).click()
    const values = (): Promise<string> => page.locator('.tiles').innerText()
    const paused = await values()
    await page.getByRole('button', { name: /Resume \(\d+\)/ }).waitFor()
    expect(await values()).toBe(paused)
    await page.getByRole('button', { name: /Resume/ }).first().click()
    await expect.poll(values).not.toBe(paused)
  })
})

describe('a source', () => {
  it('is shown with how it arrives and whether the way is whole, and says how to send to it', async () => {
    const page = await opened('ana', { at: '#/quality' })
    await loaded(page)
    await page.getByRole('link', { name: 'Departures from New York' }).click()
    await page.getByRole('heading', { name: 'Arrival' }).waitFor()
    await loaded(page)
    expect(await page.locator('.flow .flow-events').count()).toBeGreaterThan(0)
    expect(await page.locator('td[data-label="Way through"]', { hasText: /^alive \d+ s ago$/ }).count()).toBeGreaterThan(0)
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write'])
    await page.getByRole('button', { name: 'Python' }).click()
    await page.getByRole('button', { name: 'Copy' }).click()
    await page.getByText('Copied').waitFor()
    expect(await page.evaluate(() => navigator.clipboard.readText())).toContain('httpx.post(')
    await expectAccessible(page)
    await picture(page, 'source')
  })
})

describe('a signal', () => {
  it('is opened, acknowledged and decided on, and the decision is found again with what was seen', async () => {
    const page = await opened('lena', { at: '#/signals?verdict=sustained&kpi=cancellation_rate' })
    await loaded(page)
    await page.getByRole('link', { name: /Cancellation rate: origin EWR/ }).first().click()
    await page.getByRole('heading', { name: 'From event to effect' }).waitFor()
    await loaded(page)

    await page.fill('input[name=note]', 'On it')
    await page.getByRole('button', { name: 'Acknowledge', exact: true }).click()
    await page.getByText(/^Acknowledged .* ago$/).waitFor()

    await page.getByRole('button', { name: 'Decide …' }).click()
    await page.getByText(/\d+ observations, the last of/).waitFor()
    await page.fill('input[name=title]', 'Close Newark for the night')
    await page.fill('textarea[name=choice]', 'Cancel what is left of the day')
    await page.fill('textarea[name=rationale]', 'The blizzard closes the field')
    await page.fill('textarea[name=expected]', 'Below 30 % by noon')
    await picture(page, 'decide')
    await expectAccessible(page)
    await page.getByRole('button', { name: 'Record the decision' }).click()

    await page.getByRole('heading', { name: 'Close Newark for the night' }).waitFor()
    await page.getByText('Unchanged: the stored evidence has the hash').waitFor()
    await page.getByText(/Rebuilt from the record as known at .*: the same/).waitFor()
    await page.locator('sx-decision sx-chart canvas').waitFor()
    await page.getByRole('button', { name: 'Mark as dispatched' }).click()
    await page.getByRole('button', { name: 'Mark as executed' }).click()
    await page.locator('.loop li.reached', { hasText: 'Executed' }).waitFor()
    await expectAccessible(page)
    await picture(page, 'decision')

    await visit(page, '#/decisions')
    await page.getByRole('link', { name: 'Close Newark for the night' }).first().waitFor()
    await expectAccessible(page)
  })

  it('is reached, read and acknowledged by keyboard alone', async () => {
    const page = await opened('lena', { at: '#/signals?verdict=sustained&kpi=cancellation_rate' })
    await loaded(page)
    const onto = async (name: string): Promise<void> => {
      for (let step = 0; step < 80; step += 1) {
        await page.keyboard.press('Tab')
        const text = await page.evaluate(() => document.activeElement?.textContent?.trim() ?? '')
        if (text.includes(name)) return
      }
      throw new Error(`no focus on “${name}”`)
    }
    await page.keyboard.press('Tab')
    expect(await page.evaluate(() => document.activeElement?.className)).toBe('skip')
    await page.keyboard.press('Enter')
    expect(await page.evaluate(() => document.activeElement?.id)).toBe('main')
    await onto('origin JFK')
    await page.keyboard.press('Enter')
    await page.getByRole('heading', { name: 'From event to effect' }).waitFor()
    await loaded(page)
    await onto('Acknowledge')
    await page.keyboard.press('Enter')
    await page.getByText(/^Acknowledged .* ago$/).waitFor()
  })
})

describe.each([
  { colours: 'light', width: 1440 },
  { colours: 'light', width: 390 },
  { colours: 'dark', width: 1440 },
  { colours: 'dark', width: 390 },
] as const)('every screen in $colours, $width wide', ({ colours, width }) => {
  it('has nothing that axe finds fault with, and nothing sticks out', async () => {
    const signal = await blizzard('LGA')
    const screens = ['#/', '#/signals', `#/signals/${signal}`, '#/decisions', '#/quality', '#/quality/departures', '#/quality/airports', '#/audit', '#/kpis/departure_delay?range=7d', '#/nowhere']
    const page = await opened('stew', { colours, width })
    for (const screen of screens) {
      await visit(page, screen)
      await expectAccessible(page)
      const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
      expect({ screen, over: Math.max(0, over) }).toEqual({ screen, over: 0 })
      await picture(page, `${colours}-${width}-${screen.replace(/\W+/g, '-').slice(0, 24)}`)
    }
  }, 180_000)
})
