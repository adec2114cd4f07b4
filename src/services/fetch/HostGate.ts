/**
 * The gate of one host: whether a request may start now, and if not, when to ask again. A state machine without clock or fibers:
 * time and chance are arguments, so the same calls always give the same answers.
 *
 * It holds the host's concurrency (and learns the host's own limit), its rate, what the host asked for (Retry-After), a block that grows
 * while the host throttles without saying for how long, a circuit breaker, and the budget for retries.
 */
import type { HostState } from "./HostState.ts"
import { RateGate, TokenBudget } from "./RateGate.ts"
import { equalJitterMillis } from "./Retry.ts"

/** The limits that a gate applies; a part of the policy, in milliseconds. */
export interface HostLimits {
  readonly perHost: number
  readonly perHostRatePerSecond: number
  /** Whether the concurrency is lowered below `perHost` to what the host takes. */
  readonly isAdaptive: boolean
  /** A shut gate that opens later than this refuses instead of making its requests wait. */
  readonly patienceMillis: number
  /** First block of a host that throttles without Retry-After; doubles with each. */
  readonly baseMillis: number
  /** Longest such block. */
  readonly blockMaxMillis: number
  /** After this long without throttling the block starts small again. */
  readonly forgiveMillis: number
  /** Connections in a row that came to nothing and open the circuit. */
  readonly breakerFailures: number
  /** First time that the circuit stays open; doubles with each probe that fails. */
  readonly breakerCooldownMillis: number
  /** Retries that each request earns. */
  readonly retryRatio: number
  /** Retries that come with time. */
  readonly retriesPerSecond: number
}

/** Why a gate refuses: what would have to be waited for is longer than the patience. */
export type Refusal =
  | { readonly _tag: "Throttled"; readonly status: number; readonly forMillis: number }
  | { readonly _tag: "CircuitOpen"; readonly forMillis: number }

/** Longest that a circuit stays open without a probe. */
const cooldownMaxMillis = 300_000

/** Answers at a learned concurrency, for each place of it, before one more is tried; doubles when that fails. */
const probeAfter = 20

/** Answers that make up for one strike: a host that still serves most requests is slowed down, not shunned. */
const answersPerStrike = 10

/** The gate of one host. */
export class HostGate {
  readonly host: string
  inFlight = 0
  /** Queues that hold this gate: it may not be forgotten under them. */
  queued = 0
  /** Who asked for a place when there was none; called once, in the order of asking. */
  readonly waiting = new Set<() => void>()
  /** Least time between two starts, as the host's robots.txt asks. */
  gapMillis = 0
  private readonly rate = new RateGate()
  private readonly retries = new TokenBudget(100)
  private blockedUntilMillis = Number.NEGATIVE_INFINITY
  private blockStatus = 0
  private strikes = 0
  private answersSinceStrike = 0
  private struckAtMillis = Number.NEGATIVE_INFINITY
  /** What the host takes at once, as far as is known. */
  private learned = Infinity
  private answersAtLearned = 0
  private isProbing = false
  private probes = 0
  private failures = 0
  /** How long the circuit was opened last; 0 when it is closed. */
  private cooldownMillis = 0
  private openUntilMillis = Number.NEGATIVE_INFINITY

  constructor(host: string) {
    this.host = host
  }

  /** The concurrency in force. */
  concurrency(limits: HostLimits): number {
    return limits.isAdaptive ? Math.min(limits.perHost, this.learned) : limits.perHost
  }

  /** Why nothing is to wait here, if so. */
  refusal(limits: HostLimits, nowMillis: number): Refusal | undefined {
    const blockedMillis = this.blockedUntilMillis - nowMillis
    if (blockedMillis > limits.patienceMillis) {
      return { _tag: "Throttled", status: this.blockStatus, forMillis: blockedMillis }
    }
    const openMillis = this.openUntilMillis - nowMillis
    return openMillis > limits.patienceMillis ? { _tag: "CircuitOpen", forMillis: openMillis } : undefined
  }

  /**
   * Takes a place and answers `undefined`; or says when to ask again: a time, or `Infinity` when only the end of a request can open it.
   */
  tryStart(limits: HostLimits, nowMillis: number): number | undefined {
    const shutUntilMillis = Math.max(this.blockedUntilMillis, this.openUntilMillis)
    if (shutUntilMillis > nowMillis) return shutUntilMillis
    // Half open: one probe at a time.
    const places = this.cooldownMillis > 0 ? 1 : this.concurrency(limits)
    if (this.inFlight >= places) return Infinity
    const ratePerSecond = this.gapMillis > 0
      ? Math.min(limits.perHostRatePerSecond, 1000 / this.gapMillis)
      : limits.perHostRatePerSecond
    const opensAtMillis = this.rate.opensAt(ratePerSecond, nowMillis)
    if (opensAtMillis > nowMillis) return opensAtMillis
    this.rate.start(ratePerSecond, nowMillis)
    this.inFlight++
    return undefined
  }

  /** A request has ended, however it ended: whoever waits for a place may ask again. */
  end(): void {
    this.inFlight--
    this.wake()
  }

  /** A URL was asked for the first time: it earns its part of a retry. */
  asked(limits: HostLimits): void {
    this.retries.earn(limits.retryRatio)
  }

  /** Whether one more retry may be waited for. */
  takeRetry(limits: HostLimits, nowMillis: number): boolean {
    return this.retries.spend(limits.retriesPerSecond, nowMillis)
  }

  /** The host answered, and did not throttle. */
  answered(limits: HostLimits): void {
    this.failures = 0
    this.cooldownMillis = 0
    if (this.strikes > 0 && ++this.answersSinceStrike >= answersPerStrike) {
      this.strikes--
      this.answersSinceStrike = 0
    }
    if (this.learned === Infinity || this.inFlight < this.learned) return
    // Only answers that came while all places were taken say that the host takes that many.
    if (++this.answersAtLearned < probeAfter * this.learned * 2 ** this.probes) return
    this.answersAtLearned = 0
    this.learned++
    this.isProbing = true
    if (this.learned >= limits.perHost) this.learned = Infinity
  }

  /**
   * The host throttled (429, 503), with the Retry-After that it asked for, if any: answers how long nothing starts now.
   *
   * @param startedAtMillis when the throttled request started: those that were under way together count once
   * @param startedWith how many were in flight when it started, itself included
   */
  throttled(
    limits: HostLimits,
    status: number,
    askedMillis: number | undefined,
    startedAtMillis: number,
    startedWith: number,
    nowMillis: number,
    chance: number
  ): number {
    this.failures = 0
    this.cooldownMillis = 0
    const isProbe = this.learn(limits, startedWith)
    if (nowMillis - this.struckAtMillis > limits.forgiveMillis) this.strikes = 0
    let blockMillis = askedMillis
    if (blockMillis === undefined) {
      // One place too many was tried on purpose: that place is given back, and nothing else follows from it.
      if (isProbe) return 0
      if (startedAtMillis < this.struckAtMillis) return Math.max(0, this.blockedUntilMillis - nowMillis)
      this.strikes++
      this.answersSinceStrike = 0
      blockMillis = equalJitterMillis(this.strikes, limits.baseMillis, limits.blockMaxMillis, chance)
      this.struckAtMillis = nowMillis
    }
    if (nowMillis + blockMillis > this.blockedUntilMillis) {
      this.blockedUntilMillis = nowMillis + blockMillis
      this.blockStatus = status
    }
    return blockMillis
  }

  /** No answer at all: no connection, or nothing came over it. */
  failed(limits: HostLimits, nowMillis: number): void {
    this.failures++
    const isProbe = this.cooldownMillis > 0
    if (!isProbe && this.failures < limits.breakerFailures) return
    // Those that were under way when it opened are no probes.
    if (this.openUntilMillis > nowMillis) return
    this.cooldownMillis = isProbe ? Math.min(cooldownMaxMillis, this.cooldownMillis * 2) : limits.breakerCooldownMillis
    this.openUntilMillis = nowMillis + this.cooldownMillis
  }

  /** What is to be remembered of it beyond this process; `undefined` when there is nothing. */
  remembered(nowMillis: number, wallMillis: number): HostState | undefined {
    const isBlocked = this.blockedUntilMillis > nowMillis
    if (!isBlocked && this.strikes === 0 && this.learned === Infinity && this.cooldownMillis === 0) return undefined
    const wall = (atMillis: number) => Number.isFinite(atMillis) ? Math.round(wallMillis + atMillis - nowMillis) : 0
    return {
      host: this.host,
      blockedUntilMillis: isBlocked ? wall(this.blockedUntilMillis) : 0,
      blockStatus: this.blockStatus,
      strikes: this.strikes,
      struckAtMillis: wall(this.struckAtMillis),
      concurrency: this.learned === Infinity ? null : this.learned,
      cooldownMillis: this.cooldownMillis,
      openUntilMillis: this.openUntilMillis > nowMillis ? wall(this.openUntilMillis) : 0
    }
  }

  /** Takes up what was remembered; a longer block of its own stays. */
  recall(state: HostState, nowMillis: number, wallMillis: number): void {
    const mono = (atMillis: number) => atMillis === 0 ? Number.NEGATIVE_INFINITY : nowMillis + atMillis - wallMillis
    if (mono(state.blockedUntilMillis) > this.blockedUntilMillis) {
      this.blockedUntilMillis = mono(state.blockedUntilMillis)
      this.blockStatus = state.blockStatus
    }
    this.strikes = Math.max(this.strikes, state.strikes)
    this.struckAtMillis = Math.max(this.struckAtMillis, mono(state.struckAtMillis))
    if (state.concurrency !== null) this.learned = Math.min(this.learned, Math.max(1, state.concurrency))
    this.cooldownMillis = Math.max(this.cooldownMillis, state.cooldownMillis)
    this.openUntilMillis = Math.max(this.openUntilMillis, mono(state.openUntilMillis))
  }

  /** Whether it may be forgotten: nobody uses it, and what it holds is over. */
  isFresh(forgiveMillis: number, nowMillis: number): boolean {
    return this.inFlight === 0 && this.queued === 0 && this.blockedUntilMillis <= nowMillis &&
      this.openUntilMillis + cooldownMaxMillis <= nowMillis && this.struckAtMillis + forgiveMillis <= nowMillis &&
      this.rate.isFresh(nowMillis)
  }

  /**
   * A throttled request tells the host's own limit: one less than were in flight when it started. Answers whether that was only the end
   * of a probe.
   */
  private learn(limits: HostLimits, startedWith: number): boolean {
    if (!limits.isAdaptive) return false
    const taken = Math.max(1, startedWith - 1)
    if (taken >= this.concurrency(limits)) return false
    // One above what was learned was only a probe: the next comes later.
    const isProbe = this.isProbing && taken === this.learned - 1
    this.probes = isProbe ? Math.min(this.probes + 1, 6) : 0
    this.learned = taken
    this.isProbing = false
    this.answersAtLearned = 0
    return isProbe
  }

  private wake(): void {
    if (this.waiting.size === 0) return
    const waiting = [...this.waiting]
    this.waiting.clear()
    for (const each of waiting) each()
  }
}

/** Gates by host; idle ones are forgotten, so that a crawl of a million hosts stays small. */
export class HostGates {
  private readonly gates = new Map<string, HostGate>()
  private readonly idleMax: number
  private sweepAt: number

  /** @param idleMax gates that are kept before those that may be forgotten are looked for. @default 4096 */
  constructor(idleMax = 4096) {
    this.idleMax = idleMax
    this.sweepAt = idleMax
  }

  /** The gate of a host, new if it has none. */
  get(host: string, forgiveMillis: number, nowMillis: number): HostGate {
    let gate = this.gates.get(host)
    if (gate === undefined) {
      if (this.gates.size >= this.sweepAt) this.sweep(forgiveMillis, nowMillis)
      gate = new HostGate(host)
      this.gates.set(host, gate)
    }
    return gate
  }

  /** Gates that are held now. */
  get size(): number {
    return this.gates.size
  }

  private sweep(forgiveMillis: number, nowMillis: number): void {
    for (const [host, gate] of this.gates) if (gate.isFresh(forgiveMillis, nowMillis)) this.gates.delete(host)
    // Sweeping again only after as many have come as stayed keeps the cost of a sweep constant per host.
    this.sweepAt = Math.max(this.idleMax, this.gates.size * 2)
  }
}
