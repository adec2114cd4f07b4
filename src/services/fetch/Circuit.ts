/**
 * The circuit breaker of a host (Nygard, "Release It!"): so many connections in a row that came to nothing open it for a while, then one
 * request probes; each probe that fails doubles the while, an answer closes it. Pure: time is an argument.
 */

/** Longest that it stays open without a probe. */
const cooldownMaxMillis = 300_000

export interface CircuitLimits {
  /** Connections in a row that came to nothing and open the circuit. */
  readonly breakerFailures: number
  /** First time that the circuit stays open; doubles with each probe that fails. */
  readonly breakerCooldownMillis: number
}

export class Circuit {
  /** How long it was opened last; 0 when it is closed. */
  cooldownMillis = 0
  openUntilMillis = Number.NEGATIVE_INFINITY
  private failures = 0

  /** Whether nothing has answered since it was opened: what is sent now is a probe. */
  get isProbing(): boolean {
    return this.cooldownMillis > 0
  }

  answered(): void {
    this.failures = 0
    this.cooldownMillis = 0
  }

  failed({ breakerCooldownMillis, breakerFailures }: CircuitLimits, nowMillis: number): void {
    this.failures++
    if (!this.isProbing && this.failures < breakerFailures) return
    // Those that were under way when it opened are no probes.
    if (this.openUntilMillis > nowMillis) return
    this.cooldownMillis = this.isProbing ? Math.min(cooldownMaxMillis, this.cooldownMillis * 2) : breakerCooldownMillis
    this.openUntilMillis = nowMillis + this.cooldownMillis
  }

  /** Takes up what was remembered; what is stricter of its own stays. */
  recall(cooldownMillis: number, openUntilMillis: number): void {
    this.cooldownMillis = Math.max(this.cooldownMillis, cooldownMillis)
    this.openUntilMillis = Math.max(this.openUntilMillis, openUntilMillis)
  }

  /** Whether it holds nothing that a new one would not. */
  isFresh(nowMillis: number): boolean {
    return this.openUntilMillis + cooldownMaxMillis <= nowMillis
  }
}
