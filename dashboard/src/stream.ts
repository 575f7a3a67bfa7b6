/**
 * The one WebSocket of the dashboard, many subscriptions on it.
 *
 * The gateway promises that `seq` is contiguous per subscription, so the client need not guess: a number
 * seen before is dropped, a hole is a fault and the subscription resumes from its last cursor, and a cursor
 * that the gateway no longer knows is answered with `gap`, upon which the owner takes a new snapshot.
 */

export interface Frame<T = unknown> {
  channel: string
  epoch: string
  seq: number
  cursor: string
  ts: string
  as_of: string | null
  type: string
  data: T
  /** Earlier entries of the same key that this frame stands for. */
  conflated?: number
}

/** What the gateway says besides data; the fields of each type are in its AsyncAPI document. */
interface Control {
  type: string
  channel?: string | null
  seq?: number
  cursor?: string
  code?: string
  message?: string
  heartbeat_seconds?: number
  after_seconds?: number
}

export type Connection =
  | { state: 'idle' }
  | { state: 'connecting' }
  | { state: 'live'; since: number; resumed: boolean }
  | { state: 'waiting'; retryAt: number; attempt: number }
  | { state: 'refused'; reason: string }

export interface Socket {
  send(text: string): void
  close(code?: number): void
  onopen: (() => void) | null
  onmessage: ((event: { data: string }) => void) | null
  onclose: ((event: { code: number; reason: string }) => void) | null
}

export interface StreamOptions {
  open: () => Socket
  /** A one-time ticket, or null when the person has to sign in again. */
  ticket: () => Promise<string | null>
  onConnection?: (connection: Connection) => void
  now?: () => number
  random?: () => number
  later?: (ms: number, run: () => void) => () => void
}

export interface Subscriber {
  onFrame: (frame: Frame) => void
  /** The stream cannot go on from where it was: take a snapshot and `restart` from its cursor. */
  onGap: () => void
  /** The gateway ended the channel, by its permission or its limits. */
  onRefused?: (reason: string) => void
  /** Frames a second at most; the gateway merges what is more to the latest of each key. */
  maxRate?: number
}

interface Subscription extends Subscriber {
  channel: string
  cursor: string | null
  seq: number | null
  /** Between asking and the gateway's `subscribed`, frames of the former subscription may still arrive. */
  acknowledged: boolean
  holes: number
}

/** Without a frame for this many heartbeats of the gateway the connection is dead, though TCP may not know. */
const HEARTBEATS_OF_SILENCE = 2.5
const FIRST_SILENCE_MS = 20_000
/** Refusals that a new ticket may cure. */
const SIGNED_OUT = new Set(['unauthenticated'])
const FIRST_RETRY_MS = 500
const LONGEST_RETRY_MS = 30_000
/** The same hole after this many resumes is not a lost frame but a broken window: start over. */
const HOLES_BEFORE_SNAPSHOT = 2

export class StreamClient {
  connection: Connection = { state: 'idle' }
  private socket: Socket | null = null
  private readonly subscriptions = new Map<string, Subscription>()
  private attempt = 0
  private everLive = false
  private stopRetry: (() => void) | null = null
  private stopWatchdog: (() => void) | null = null
  private generation = 0
  private silenceMs = FIRST_SILENCE_MS

  constructor(private readonly options: StreamOptions) {}

  start(): void {
    if (this.connection.state === 'idle' || this.connection.state === 'refused') void this.connect()
  }

  /** Try at once, however long the back-off still is. */
  retryNow(): void {
    if (this.connection.state !== 'waiting') return
    this.stopRetry?.()
    void this.connect()
  }

  stop(): void {
    this.generation += 1
    this.stopRetry?.()
    this.stopWatchdog?.()
    this.subscriptions.clear()
    this.drop(1000)
    this.attempt = 0
    this.everLive = false
    this.become({ state: 'idle' })
  }

  subscribe(channel: string, cursor: string | null, subscriber: Subscriber): () => void {
    const subscription: Subscription = {
      ...subscriber,
      channel,
      cursor,
      seq: null,
      acknowledged: false,
      holes: 0,
    }
    if (this.subscriptions.has(channel)) this.send({ type: 'unsubscribe', channel })
    this.subscriptions.set(channel, subscription)
    this.ask(subscription)
    return () => {
      if (this.subscriptions.get(channel) !== subscription) return
      this.subscriptions.delete(channel)
      this.send({ type: 'unsubscribe', channel })
    }
  }

  /** After a gap: go on from the cursor of a new snapshot. */
  restart(channel: string, cursor: string | null): void {
    const subscription = this.subscriptions.get(channel)
    if (!subscription) return
    Object.assign(subscription, { cursor, seq: null, acknowledged: false, holes: 0 })
    this.ask(subscription)
  }

  private async connect(): Promise<void> {
    const generation = ++this.generation
    this.become({ state: 'connecting' })
    let ticket: string | null
    try {
      ticket = await this.options.ticket()
    } catch {
      if (generation === this.generation) this.retryLater()
      return
    }
    if (generation !== this.generation) return
    if (ticket === null) {
      this.become({ state: 'refused', reason: 'signed out' })
      return
    }
    const socket = this.options.open()
    this.socket = socket
    socket.onopen = () => socket.send(JSON.stringify({ type: 'hello', ticket }))
    socket.onmessage = (event) => {
      if (socket === this.socket) this.receive(event.data)
    }
    socket.onclose = () => {
      if (socket !== this.socket) return
      this.socket = null
      this.stopWatchdog?.()
      this.retryLater()
    }
    this.watch()
  }

  private receive(text: string): void {
    this.watch()
    const message = JSON.parse(text) as Frame | Control
    if ('data' in message) {
      const subscription = this.subscriptions.get(message.channel)
      if (subscription?.acknowledged) this.take(subscription, message)
    } else {
      this.obey(message)
    }
  }

  private obey(message: Control): void {
    const subscription = message.channel ? this.subscriptions.get(message.channel) : undefined
    switch (message.type) {
      case 'hello':
        this.attempt = 0
        this.silenceMs = (message.heartbeat_seconds ?? 15) * 1000 * HEARTBEATS_OF_SILENCE
        this.watch()
        this.become({ state: 'live', since: this.now(), resumed: this.everLive })
        this.everLive = true
        for (const each of this.subscriptions.values()) this.ask(each)
        break
      case 'subscribed':
        if (!subscription) break
        subscription.acknowledged = true
        subscription.seq = message.seq ?? null
        subscription.cursor = message.cursor ?? subscription.cursor
        break
      case 'gap':
        if (subscription) this.giveUp(subscription)
        break
      case 'unsubscribed':
        if (subscription && message.code) this.refuse(subscription, message.code)
        break
      case 'error':
        if (subscription) this.refuse(subscription, message.message ?? 'refused')
        else if (SIGNED_OUT.has(message.code ?? '')) this.reconnect(0)
        break
      case 'reconnect':
        this.reconnect((message.after_seconds ?? 1) * 1000)
        break
    }
  }

  private giveUp(subscription: Subscription): void {
    subscription.acknowledged = false
    subscription.cursor = null
    subscription.onGap()
  }

  private refuse(subscription: Subscription, reason: string): void {
    this.subscriptions.delete(subscription.channel)
    subscription.onRefused?.(reason)
  }

  /** The gateway asked for it, so the next attempt waits as long as it said and counts as the first. */
  private reconnect(wait: number): void {
    this.drop(1000)
    this.stopWatchdog?.()
    this.become({ state: 'waiting', retryAt: this.now() + wait, attempt: this.attempt })
    this.stopRetry = this.later(wait + FIRST_RETRY_MS * this.random(), () => void this.connect())
  }

  private take(subscription: Subscription, frame: Frame): void {
    const last = subscription.seq
    if (last !== null && frame.seq <= last) return
    if (last !== null && frame.seq !== last + 1) {
      subscription.holes += 1
      subscription.acknowledged = false
      if (subscription.holes > HOLES_BEFORE_SNAPSHOT || subscription.cursor === null) this.giveUp(subscription)
      else this.ask(subscription)
      return
    }
    subscription.seq = frame.seq
    subscription.cursor = frame.cursor
    subscription.holes = 0
    subscription.onFrame(frame)
  }

  private ask(subscription: Subscription): void {
    subscription.acknowledged = false
    this.send({
      type: 'subscribe',
      channel: subscription.channel,
      ...(subscription.cursor === null ? {} : { cursor: subscription.cursor }),
      ...(subscription.maxRate === undefined ? {} : { max_rate: subscription.maxRate }),
    })
  }

  private send(message: object): void {
    if (this.connection.state === 'live') this.socket?.send(JSON.stringify(message))
  }

  private retryLater(): void {
    const ceiling = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** this.attempt)
    this.attempt += 1
    // Full jitter over the upper half: a gateway that comes back is not met by everybody at once.
    const wait = ceiling / 2 + (ceiling / 2) * this.random()
    this.become({ state: 'waiting', retryAt: this.now() + wait, attempt: this.attempt })
    this.stopRetry = this.later(wait, () => void this.connect())
  }

  private watch(): void {
    this.stopWatchdog?.()
    this.stopWatchdog = this.later(this.silenceMs, () => {
      if (!this.socket) return
      this.drop(4000)
      this.retryLater()
    })
  }

  private drop(code: number): void {
    const socket = this.socket
    this.socket = null
    socket?.close(code)
  }

  private become(connection: Connection): void {
    this.connection = connection
    this.options.onConnection?.(connection)
  }

  private now(): number {
    return (this.options.now ?? Date.now)()
  }

  private random(): number {
    return (this.options.random ?? Math.random)()
  }

  private later(ms: number, run: () => void): () => void {
    if (this.options.later) return this.options.later(ms, run)
    const timer = setTimeout(run, ms)
    return () => clearTimeout(timer)
  }
}
