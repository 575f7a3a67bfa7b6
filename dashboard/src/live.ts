import type { ReactiveController, ReactiveControllerHost } from 'lit'
import { post } from './http.ts'
import { session } from './session.ts'
import { type Connection, type Frame, type Socket, StreamClient } from './stream.ts'

/** While paused no more than this is kept; beyond it a snapshot is cheaper than the frames. */
const HELD_FRAMES = 2000

export interface Listener {
  onFrame: (frame: Frame) => void
  onGap: () => void
}

/** The dashboard's one stream: who listens to which channel, whether it flows, and the pause button. */
class Live extends EventTarget {
  connection: Connection = { state: 'idle' }
  /** Since when values are no longer live; null while they are, or before they first were. */
  lostAt: number | null = null
  pausedAt: number | null = null
  waiting = 0
  private held: (() => void)[] = []
  private overflow = new Set<Listener>()
  private readonly listeners = new Map<string, { all: Set<Listener>; leave: () => void }>()

  private readonly stream = new StreamClient({
    open: () => new WebSocket(`${location.origin.replace(/^http/, 'ws')}/v1/stream`) as unknown as Socket,
    ticket: async () => {
      if (!session.token) return null
      const { ticket } = await post<{ ticket: string }>('/v1/stream/tickets')
      return ticket
    },
    onConnection: (connection) => {
      if (connection.state === 'live') this.lostAt = null
      else if (this.connection.state === 'live' || connection.state === 'waiting') this.lostAt ??= Date.now()
      this.connection = connection
      this.dispatchEvent(new Event('change'))
    },
  })

  start(): void {
    this.stream.start()
  }

  stop(): void {
    this.stream.stop()
    this.listeners.clear()
    this.lostAt = null
    this.resume()
  }

  retryNow(): void {
    this.stream.retryNow()
  }

  /** Hear a channel from a snapshot's cursor on. Frames may repeat what the snapshot held: replace by key. */
  follow(channel: string, cursor: string | null, listener: Listener, maxRate?: number): () => void {
    const present = this.listeners.get(channel)
    if (present) {
      // The channel starts anew at the newcomer's cursor; the others may have been behind it.
      for (const other of present.all) other.onGap()
    }
    const all = new Set([...(present?.all ?? []), listener])
    const leave = this.stream.subscribe(channel, cursor, {
      onFrame: (frame) => this.deliver(all, frame),
      onGap: () => {
        for (const each of all) each.onGap()
      },
      ...(maxRate === undefined ? {} : { maxRate }),
    })
    this.listeners.set(channel, { all, leave })
    return () => {
      const now = this.listeners.get(channel)
      if (!now?.all.delete(listener) || now.all.size) return
      now.leave()
      this.listeners.delete(channel)
    }
  }

  /** Go on after a gap. */
  restart(channel: string, cursor: string | null): void {
    this.stream.restart(channel, cursor)
  }

  pause(): void {
    this.pausedAt = Date.now()
    this.dispatchEvent(new Event('change'))
  }

  resume(): void {
    if (this.pausedAt === null) return
    this.pausedAt = null
    this.waiting = 0
    const held = this.held.splice(0)
    for (const deliver of held) deliver()
    for (const listener of this.overflow) listener.onGap()
    this.overflow.clear()
    this.dispatchEvent(new Event('change'))
  }

  private deliver(all: Set<Listener>, frame: Frame): void {
    if (this.pausedAt === null) {
      for (const listener of all) listener.onFrame(frame)
      return
    }
    this.waiting += 1
    if (this.held.length < HELD_FRAMES) {
      this.held.push(() => {
        for (const listener of all) listener.onFrame(frame)
      })
    } else {
      for (const listener of all) this.overflow.add(listener)
    }
    this.dispatchEvent(new Event('waiting'))
  }
}

export const live = new Live()

/** Draws its host again when the connection changes and, so that ages stay true, every few seconds. */
export class Following implements ReactiveController {
  private readonly channels = new Map<string, { listener: Listener; gapped: boolean; leave: () => void }>()
  private timer = 0
  private readonly changed = () => this.host.requestUpdate()

  constructor(
    private readonly host: ReactiveControllerHost,
    private readonly everyMs = 2000,
  ) {
    host.addController(this)
  }

  hostConnected(): void {
    live.addEventListener('change', this.changed)
    this.timer = window.setInterval(() => {
      if (live.pausedAt === null && !document.hidden) this.host.requestUpdate()
    }, this.everyMs)
  }

  hostDisconnected(): void {
    live.removeEventListener('change', this.changed)
    clearInterval(this.timer)
    this.leaveAll()
  }

  /** Follow a channel from a snapshot's cursor. Asked again, it only goes back to the cursor after a gap. */
  on(channel: string, cursor: string | null, listener: Listener, maxRate?: number): void {
    const followed = this.channels.get(channel)
    if (followed) {
      followed.listener = listener
      if (followed.gapped) live.restart(channel, cursor)
      followed.gapped = false
      return
    }
    const entry = { listener, gapped: false, leave: () => {} }
    this.channels.set(channel, entry)
    entry.leave = live.follow(
      channel,
      cursor,
      {
        onFrame: (frame) => entry.listener.onFrame(frame),
        onGap: () => {
          entry.gapped = true
          entry.listener.onGap()
        },
      },
      maxRate,
    )
  }

  leaveAll(): void {
    for (const { leave } of this.channels.values()) leave()
    this.channels.clear()
  }
}

/** The moment that ages are counted to: it stands still while the screen is paused. */
export function present(): number {
  return live.pausedAt ?? Date.now()
}
