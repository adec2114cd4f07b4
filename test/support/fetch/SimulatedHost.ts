/**
 * A host as arithmetic: what it answers to a request for a page at a time, and how long that takes. It needs no clock of its own, so the
 * same host is asked by a loop over a bare gate, by a client on the test clock, and by a server over sockets.
 */

/** What a host takes and what it does with the rest; without any of these it serves everything. */
export interface Manner {
  /** Milliseconds of an answer. @default 50 */
  readonly latency?: () => number
  /** Milliseconds of a refusal. @default as an answer */
  readonly refusalMillis?: number
  /** Requests that it works on at once. */
  readonly limit?: (atMillis: number) => number
  /** Requests a second (a token bucket). */
  readonly perSecond?: number
  /** Tokens of that bucket. @default perSecond */
  readonly burst?: number
  /** Times that a page is refused before it is served. */
  readonly refusals?: (page: string) => number
  /** Whether it refuses everything then. */
  readonly isDown?: (atMillis: number) => boolean
  /** Retry-After of a refusal in milliseconds; `undefined` is none. */
  readonly asks?: (atMillis: number) => number | undefined
}

/** One answer. */
export interface Answer {
  readonly isRefused: boolean
  readonly millis: number
  readonly askedMillis: number | undefined
}

/** One request that the host has seen. */
export interface Seen {
  readonly atMillis: number
  readonly isRefused: boolean
  /** Requests that it worked on then, this one included. */
  readonly busy: number
}

export class SimulatedHost {
  readonly seen: Array<Seen> = []
  private readonly manner: Manner
  private readonly asked = new Map<string, number>()
  private ends: Array<number> = []
  private tokens: number
  private filledAtMillis = 0

  constructor(manner: Manner) {
    this.manner = manner
    this.tokens = manner.burst ?? manner.perSecond ?? Infinity
  }

  answer(page: string, atMillis: number): Answer {
    const { asks, latency = () => 50, refusalMillis } = this.manner
    this.ends = this.ends.filter((end) => end > atMillis)
    const isRefused = this.refuses(page, atMillis)
    const millis = isRefused ? refusalMillis ?? latency() : latency()
    const busy = this.ends.length + 1
    if (!isRefused) this.ends.push(atMillis + millis)
    this.seen.push({ atMillis, isRefused, busy })
    return { isRefused, millis, askedMillis: isRefused ? asks?.(atMillis + millis) : undefined }
  }

  /** Requests in a stretch of time. */
  between(fromMillis: number, toMillis: number): ReadonlyArray<Seen> {
    return this.seen.filter(({ atMillis }) => atMillis >= fromMillis && atMillis < toMillis)
  }

  private refuses(page: string, atMillis: number): boolean {
    const { isDown, limit, refusals } = this.manner
    if (isDown?.(atMillis) === true) return true
    if (limit !== undefined && this.ends.length >= limit(atMillis)) return true
    if (!this.takeToken(atMillis)) return true
    const before = this.asked.get(page) ?? 0
    this.asked.set(page, before + 1)
    return before < (refusals?.(page) ?? 0)
  }

  private takeToken(atMillis: number): boolean {
    const { burst, perSecond } = this.manner
    if (perSecond === undefined) return true
    const earned = (atMillis - this.filledAtMillis) * perSecond / 1000
    this.tokens = Math.min(burst ?? perSecond, this.tokens + earned)
    this.filledAtMillis = atMillis
    if (this.tokens < 1) return false
    this.tokens--
    return true
  }
}

/** Chance that is the same each time (mulberry32). */
export const chanceOf = (seed: number): () => number => {
  let state = seed | 0
  return () => {
    state = state + 0x6D2B79F5 | 0
    let mixed = Math.imul(state ^ state >>> 15, 1 | state)
    mixed = mixed + Math.imul(mixed ^ mixed >>> 7, 61 | mixed) ^ mixed
    return ((mixed ^ mixed >>> 14) >>> 0) / 4_294_967_296
  }
}
