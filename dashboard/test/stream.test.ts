import { beforeEach, describe, expect, it } from 'vitest'
import { type Connection, type Frame, type Socket, StreamClient } from '../src/stream.ts'

/** The other end of the wire, under the test's hand. */
class Wire implements Socket {
  sent: { type: string; channel?: string; cursor?: string; ticket?: string }[] = []
  closed: number | null = null
  onopen: (() => void) | null = null
  onmessage: ((event: { data: string }) => void) | null = null
  onclose: ((event: { code: number; reason: string }) => void) | null = null

  send(text: string): void {
    this.sent.push(JSON.parse(text) as Wire['sent'][number])
  }

  close(code = 1000): void {
    this.closed = code
  }

  says(message: object): void {
    this.onmessage?.({ data: JSON.stringify(message) })
  }

  breaks(): void {
    this.onclose?.({ code: 1006, reason: '' })
  }
}

let wires: Wire[]
let timers: { ms: number; run: () => void }[]
let states: Connection[]
let tickets: (string | null | Error)[]
let client: StreamClient

const wire = (): Wire => wires.at(-1) as Wire
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
/** Lets the timers with this delay run out. */
const elapse = async (least: number, most = least): Promise<void> => {
  const due = timers.filter(({ ms }) => ms >= least && ms <= most)
  timers = timers.filter((each) => !due.includes(each))
  for (const { run } of due) run()
  await settled()
}
const frame = (seq: number, data: unknown = seq): Frame => ({
  channel: 'signals',
  epoch: 'e',
  seq,
  cursor: `c${seq}`,
  ts: '2013-02-08T00:00:00Z',
  as_of: null,
  type: 'signal',
  data,
})

const heard: unknown[] = []
let gaps = 0
let refusals: string[] = []
const listen = (cursor: string | null = 'c0') =>
  client.subscribe('signals', cursor, {
    onFrame: ({ data }) => heard.push(data),
    onGap: () => (gaps += 1),
    onRefused: (reason) => refusals.push(reason),
  })

const begin = async (): Promise<void> => {
  client.start()
  await settled()
  wire().onopen?.()
  wire().says({ type: 'hello', heartbeat_seconds: 10 })
}

beforeEach(() => {
  wires = []
  timers = []
  states = []
  tickets = []
  heard.length = 0
  gaps = 0
  refusals = []
  client = new StreamClient({
    open: () => {
      wires.push(new Wire())
      return wire()
    },
    ticket: () => {
      const next = tickets.length ? tickets.shift() : 'ticket'
      return next instanceof Error ? Promise.reject(next) : Promise.resolve(next ?? null)
    },
    onConnection: (connection) => states.push(connection),
    now: () => 0,
    random: () => 1,
    later: (ms, run) => {
      const timer = { ms, run }
      timers.push(timer)
      return () => {
        timers = timers.filter((each) => each !== timer)
      }
    },
  })
})

describe('a stream', () => {
  it('shows its ticket first, then asks for every channel from its cursor', async () => {
    listen()
    await begin()
    expect(wire().sent).toEqual([
      { type: 'hello', ticket: 'ticket' },
      { type: 'subscribe', channel: 'signals', cursor: 'c0' },
    ])
  })

  it('hands on each sequence number once, in order', async () => {
    listen()
    await begin()
    wire().says({ type: 'subscribed', channel: 'signals', seq: 0, cursor: 'c0' })
    for (const seq of [1, 2, 2, 1, 3]) wire().says(frame(seq))
    expect(heard).toEqual([1, 2, 3])
  })

  it('asks again from its last cursor when it sees a hole, and takes nothing until it is answered', async () => {
    listen()
    await begin()
    wire().says({ type: 'subscribed', channel: 'signals', seq: 0, cursor: 'c0' })
    wire().says(frame(1))
    wire().says(frame(3))
    wire().says(frame(4))
    expect(wire().sent.at(-1)).toEqual({ type: 'subscribe', channel: 'signals', cursor: 'c1' })
    wire().says({ type: 'subscribed', channel: 'signals', seq: 1, cursor: 'c1' })
    for (const seq of [2, 3, 4]) wire().says(frame(seq))
    expect(heard).toEqual([1, 2, 3, 4])
  })

  it('takes a new snapshot when the same hole stays', async () => {
    listen()
    await begin()
    for (let attempt = 0; attempt < 3; attempt += 1) {
      wire().says({ type: 'subscribed', channel: 'signals', seq: 0, cursor: 'c0' })
      wire().says(frame(2))
    }
    expect([heard, gaps]).toEqual([[], 1])
  })

  it('asks its owner for a snapshot on a gap, and goes on from that', async () => {
    listen()
    await begin()
    wire().says({ type: 'gap', channel: 'signals', recover: 'snapshot' })
    expect(gaps).toBe(1)
    client.restart('signals', 'c90')
    wire().says({ type: 'subscribed', channel: 'signals', seq: 90, cursor: 'c90' })
    wire().says(frame(91))
    expect(heard).toEqual([91])
  })

  it('resumes from its last cursor after the connection broke, with waits that double', async () => {
    listen()
    await begin()
    wire().says({ type: 'subscribed', channel: 'signals', seq: 0, cursor: 'c0' })
    wire().says(frame(1))
    wire().breaks()
    expect(client.connection).toMatchObject({ state: 'waiting', retryAt: 500 })
    tickets = [new Error('down'), 'another']
    await elapse(500)
    expect(client.connection).toMatchObject({ state: 'waiting', retryAt: 1000 })
    await elapse(1000)
    wire().onopen?.()
    wire().says({ type: 'hello', heartbeat_seconds: 10 })
    expect(wire().sent).toEqual([
      { type: 'hello', ticket: 'another' },
      { type: 'subscribe', channel: 'signals', cursor: 'c1' },
    ])
    expect(client.connection).toMatchObject({ state: 'live', resumed: true })
  })

  it('takes silence beyond the heartbeats for a dead connection', async () => {
    await begin()
    const first = wire()
    await elapse(25_000)
    expect(first.closed).toBe(4000)
    expect(client.connection.state).toBe('waiting')
  })

  it('stops asking when the person has to sign in again', async () => {
    tickets = [null]
    client.start()
    await settled()
    expect(client.connection).toEqual({ state: 'refused', reason: 'signed out' })
    expect(wires).toEqual([])
  })

  it('tells the owner of a channel that it was refused, and leaves the others alone', async () => {
    listen()
    await begin()
    wire().says({ type: 'error', channel: 'signals', code: 'forbidden', message: 'not yours' })
    expect(refusals).toEqual(['not yours'])
    expect(client.connection.state).toBe('live')
  })
})
