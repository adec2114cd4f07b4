/**
 * A rate as a generic cell rate algorithm (ITU-T I.371): it keeps one number, needs no refill, and never drifts. Pure: time is an argument.
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

/**
 * Tokens for doing more than was asked: each request earns a part of one, and some come with time. Spent when the extra request is
 * decided on, so that those that wait in backoff are counted (otherwise all of them come due together).
 */
export class TokenBudget {
  private tokens: number
  private filledAtMillis = Number.NEGATIVE_INFINITY
  private readonly max: number

  /** @param max tokens at the start, and at most */
  constructor(max: number) {
    this.max = max
    this.tokens = max
  }

  /** A request was made. */
  earn(part: number): void {
    this.tokens = Math.min(this.max, this.tokens + part)
  }

  /** Takes a token if there is one. */
  spend(perSecond: number, nowMillis: number): boolean {
    if (this.filledAtMillis < nowMillis) {
      const elapsedMillis = nowMillis - Math.max(this.filledAtMillis, nowMillis - 3_600_000)
      this.tokens = Math.min(this.max, this.tokens + perSecond * elapsedMillis / 1000)
      this.filledAtMillis = nowMillis
    }
    if (this.tokens < 1) return false
    this.tokens--
    return true
  }
}
