/**
 * The gate of one host: whether a request may start now, and if not, when to ask again. A state machine without clock or fibers:
 * time is an argument, so the same calls always give the same answers.
 */

/** The limits that a gate applies; a part of the policy. */
export interface HostLimits {
  readonly perHost: number
  readonly perHostRatePerSecond: number
}

/**
 * A rate as a generic cell rate algorithm (ITU-T I.371): it keeps one number, needs no refill, and never drifts.
 */
export class RateGate {
  /** When the next start would be due if all came evenly (theoretical arrival time). */
  private dueMillis = Number.NEGATIVE_INFINITY

  /** When a start is allowed: now or earlier when it is allowed now. `ratePerSecond` of `Infinity` is always now. */
  opensAt(ratePerSecond: number, nowMillis: number): number {
    if (ratePerSecond === Infinity) return nowMillis
    // A tenth of a second's worth may start together: timers are no finer than a millisecond, and work comes in batches.
    const burstMillis = Math.max(0, 100 - 1000 / ratePerSecond)
    return Math.max(nowMillis, this.dueMillis - burstMillis)
  }

  /** Takes one start. */
  start(ratePerSecond: number, nowMillis: number): void {
    if (ratePerSecond === Infinity) return
    this.dueMillis = Math.max(this.dueMillis, nowMillis) + 1000 / ratePerSecond
  }

  /** Whether it holds nothing that a new gate would not. */
  isFresh(nowMillis: number): boolean {
    return this.dueMillis <= nowMillis
  }
}

/** The gate of one host. */
export class HostGate {
  readonly host: string
  inFlight = 0
  /** Queues that hold this gate: it may not be forgotten under them. */
  queued = 0
  /** Who asked for a place when there was none; called once, in the order of asking. */
  readonly waiting = new Set<() => void>()
  private blockedUntilMillis = Number.NEGATIVE_INFINITY
  private readonly rate = new RateGate()

  constructor(host: string) {
    this.host = host
  }

  /**
   * Takes a place and answers `undefined`; or says when to ask again: a time, or `Infinity` when only the end of a request can open it.
   */
  tryStart(limits: HostLimits, nowMillis: number): number | undefined {
    if (this.blockedUntilMillis > nowMillis) return this.blockedUntilMillis
    if (this.inFlight >= limits.perHost) return Infinity
    const opensAt = this.rate.opensAt(limits.perHostRatePerSecond, nowMillis)
    if (opensAt > nowMillis) return opensAt
    this.rate.start(limits.perHostRatePerSecond, nowMillis)
    this.inFlight++
    return undefined
  }

  /** A request has ended, however it ended: whoever waits for a place may ask again. */
  end(): void {
    this.inFlight--
    if (this.waiting.size === 0) return
    const waiting = [...this.waiting]
    this.waiting.clear()
    for (const wake of waiting) wake()
  }

  /** Nothing starts before this time; an earlier block that lasts longer stays. */
  block(untilMillis: number): void {
    if (untilMillis > this.blockedUntilMillis) this.blockedUntilMillis = untilMillis
  }

  /** Whether it may be forgotten: it holds nothing that a new gate would not. */
  isFresh(nowMillis: number): boolean {
    return this.inFlight === 0 && this.queued === 0 && this.blockedUntilMillis <= nowMillis &&
      this.rate.isFresh(nowMillis)
  }
}

/** Gates by host; idle ones are forgotten, so that a crawl of a million hosts stays small. */
export class HostGates {
  private readonly gates = new Map<string, HostGate>()
  private readonly idleMax: number
  private sweepAt: number

  /** @param idleMax gates that are kept before fresh ones are looked for and dropped. @default 4096 */
  constructor(idleMax = 4096) {
    this.idleMax = idleMax
    this.sweepAt = idleMax
  }

  get(host: string, nowMillis: number): HostGate {
    let gate = this.gates.get(host)
    if (gate === undefined) {
      if (this.gates.size >= this.sweepAt) this.sweep(nowMillis)
      gate = new HostGate(host)
      this.gates.set(host, gate)
    }
    return gate
  }

  get size(): number {
    return this.gates.size
  }

  private sweep(nowMillis: number): void {
    for (const [host, gate] of this.gates) if (gate.isFresh(nowMillis)) this.gates.delete(host)
    // Sweeping again only after as many have come as stayed keeps the cost of a sweep constant per host.
    this.sweepAt = Math.max(this.idleMax, this.gates.size * 2)
  }
}
