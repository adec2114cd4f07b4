/**
 * The gate of one host: whether a request may start now, and if not, when to ask again. A state machine without clock or fibers:
 * time and chance are arguments, so the same calls always give the same answers.
 *
 * Open, it is as wide as its `Window` (requests at once) and as fast as its `Pace` (requests a second), both found out from what the host
 * refuses (429, 503), and never more than the policy allows. Something that shuts it is one of four:
 *
 * - Asked: the host has said for how long (Retry-After). Nothing starts before.
 * - Resting: most of its latest answers are refusals, the last of a request that was alone and was not slowed down enough by the pace.
 *   We choose how long; it doubles with each request that is refused after it. Each answer makes the next half as long.
 * - Silent (the circuit): so many connections in a row came to nothing. We choose how long; it doubles with each probe that fails.
 * - Full: as many are under way as there are places. After Resting and Silent there is one until the host has answered.
 *
 * Refusals of requests that were under way together are one signal: it asks for less once in a round trip. A page that is refused while
 * others of its host are served is that page's own trouble, and no signal at all (`Tolerance`).
 */
import { Circuit, type CircuitLimits } from "./Circuit.ts"
import type { HostState, Moment } from "./HostState.ts"
import type { Block, HostView } from "./HostView.ts"
import { LatestAnswers } from "./LatestAnswers.ts"
import { Pace } from "./Pace.ts"
import { RateGate, TokenBudget } from "./RateGate.ts"
import { equalJitterMillis } from "./Retry.ts"
import { Tolerance } from "./Tolerance.ts"
import { Window } from "./Window.ts"

/** The limits that a gate applies; a part of the policy, in milliseconds. */
export interface HostLimits extends CircuitLimits {
  readonly perHost: number
  readonly perHostRatePerSecond: number
  /** Whether the concurrency is lowered below `perHost` to what the host takes. */
  readonly isAdaptive: boolean
  /** A shut gate that opens later than this refuses instead of making its requests wait. */
  readonly patienceMillis: number
  /** Longest rest of a host that refuses without a Retry-After. */
  readonly blockMaxMillis: number
  /** After this long without a refusal the rests start small again. */
  readonly forgiveMillis: number
  /** Retries that each request earns. */
  readonly retryRatio: number
  /** Retries that come with time. */
  readonly retriesPerSecond: number
}

/** An answer that refuses (429, 503). */
export interface Refused {
  readonly status: number
  /** Its Retry-After. */
  readonly askedMillis: number | undefined
  /** Which request it was: `started` when it had. */
  readonly ticket: number
  /** Whether it is not the first one for its page. */
  readonly isAgain: boolean
  /** In [0, 1): spreads the rests of hosts that refuse together. */
  readonly chance: number
}

/** Step of the first rest, of which jitter leaves at least half: a host that refuses everything is asked once a second at most. */
const restMillis = 2000

/** What has not been refused for so long is taken. */
const stillMillis = 1000

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
  /** Requests that have started. */
  started = 0
  /** When the last of them did. */
  private startedAtMillis = Number.NEGATIVE_INFINITY
  private readonly rate = new RateGate()
  private readonly retries = new TokenBudget(100)
  private readonly window = new Window()
  private readonly pace = new Pace()
  private readonly tolerance = new Tolerance()
  private readonly circuit = new Circuit()
  private readonly latest = new LatestAnswers()
  /** Requests up to this one had started when less was asked last: what becomes of them is the same signal. */
  private signalAt = 0
  private askedUntilMillis = Number.NEGATIVE_INFINITY
  private restsUntilMillis = Number.NEGATIVE_INFINITY
  /** The status that was refused with last. */
  private status = 0
  private refusedAtMillis = Number.NEGATIVE_INFINITY
  /** Rests in a row, less what answers have made up for. */
  private strikes = 0
  /** Requests up to this one had started at the last strike. */
  private struckAt = 0

  constructor(host: string) {
    this.host = host
  }

  /** Requests at once now. */
  concurrency(limits: HostLimits): number {
    if (this.circuit.isProbing || this.strikes > 0) return 1
    return limits.isAdaptive ? Math.min(limits.perHost, this.window.size) : limits.perHost
  }

  /** Starts per second now. */
  ratePerSecond(limits: HostLimits): number {
    const ownPerSecond = limits.isAdaptive ? this.pace.perSecond : Infinity
    return Math.min(limits.perHostRatePerSecond, ownPerSecond, this.gapMillis > 0 ? 1000 / this.gapMillis : Infinity)
  }

  /** Nothing starts before this time. */
  get shutUntilMillis(): number {
    return Math.max(this.askedUntilMillis, this.restsUntilMillis, this.circuit.openUntilMillis)
  }

  /** Why nothing is to wait here: it would be for longer than the patience. What the host has said comes first. */
  refusal({ patienceMillis }: HostLimits, nowMillis: number): Block | undefined {
    return this.blockBeyond(patienceMillis, nowMillis)
  }

  /** How it is doing. */
  view(nowMillis: number): HostView {
    const { host, inFlight } = this
    const places = this.circuit.isProbing || this.strikes > 0 ? 1 : this.window.limit
    const perSecond = this.pace.perSecond === Infinity ? undefined : this.pace.perSecond
    return { host, inFlight, places, perSecond, block: this.blockBeyond(0, nowMillis) }
  }

  private blockBeyond(leastMillis: number, nowMillis: number): Block | undefined {
    const { status } = this
    const askedMillis = this.askedUntilMillis - nowMillis
    if (askedMillis > leastMillis) return { _tag: "Asked", status, forMillis: askedMillis }
    const restMillis = this.restsUntilMillis - nowMillis
    if (restMillis > leastMillis) return { _tag: "Resting", status, forMillis: restMillis }
    const openMillis = this.circuit.openUntilMillis - nowMillis
    return openMillis > leastMillis ? { _tag: "Silent", forMillis: openMillis } : undefined
  }

  /**
   * Takes a place and answers `undefined`; or says when to ask again: a time, or `Infinity` when only the end of a request can open it.
   */
  tryStart(limits: HostLimits, nowMillis: number): number | undefined {
    const { shutUntilMillis } = this
    if (shutUntilMillis > nowMillis) return shutUntilMillis
    if (this.inFlight >= this.concurrency(limits)) {
      if (this.widensAtMillis(limits) > nowMillis) return Infinity
      this.window.widen(limits.perHost)
    }
    const ratePerSecond = this.ratePerSecond(limits)
    const opensAtMillis = this.rate.opensAt(ratePerSecond, nowMillis)
    if (opensAtMillis > nowMillis) return opensAtMillis
    this.rate.start(ratePerSecond, nowMillis)
    this.inFlight++
    this.started++
    this.startedAtMillis = nowMillis
    return undefined
  }

  /** When there are more places although none has become free: long bodies say as little against it as answers would. */
  widensAtMillis({ isAdaptive, perHost }: HostLimits): number {
    const { size } = this.window
    const isStill = isAdaptive && this.window.isStarting && size < perHost && this.strikes === 0 &&
      !this.circuit.isProbing
    return isStill ? this.startedAtMillis + stillMillis : Infinity
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

  /** The host answered, and did not refuse. To be said before `end`. */
  answered(limits: HostLimits, nowMillis: number): void {
    this.circuit.answered()
    this.latest.note(false)
    this.strikes >>= 1
    if (!limits.isAdaptive) return
    this.tolerance.answered(this.isUnhurried)
    this.window.answered(this.inFlight, limits.perHost)
    this.pace.answered(nowMillis)
  }

  /** The host refused (429, 503). To be said before `end`. */
  refused(limits: HostLimits, refused: Refused, nowMillis: number): void {
    const { askedMillis, chance, status, ticket } = refused
    this.circuit.answered()
    this.latest.note(true)
    this.status = status
    if (nowMillis - this.refusedAtMillis > limits.forgiveMillis) this.strikes = 0
    this.refusedAtMillis = nowMillis
    if (askedMillis !== undefined) this.askedUntilMillis = Math.max(this.askedUntilMillis, nowMillis + askedMillis)
    if (limits.isAdaptive && !this.isExhausted(limits, refused, nowMillis)) return
    // Those that were under way together are one strike, and who has said for how long is given that.
    if (ticket <= this.struckAt || (askedMillis ?? 0) > 0) return
    if (!this.latest.isTelling || !this.latest.areMostlyRefusals) return
    this.struckAt = this.started
    this.strikes++
    this.restsUntilMillis = nowMillis + equalJitterMillis(this.strikes, restMillis, limits.blockMaxMillis, chance)
  }

  /** No answer at all: no connection, or nothing came over it. */
  failed(limits: HostLimits, nowMillis: number): void {
    this.circuit.failed(limits, nowMillis)
  }

  /** What is to be remembered of it beyond this process; `undefined` when there is nothing. */
  remembered({ nowMillis, wallMillis }: Moment): HostState | undefined {
    const wall = (atMillis: number) => Number.isFinite(atMillis) ? Math.round(wallMillis + atMillis - nowMillis) : 0
    const until = (atMillis: number) => atMillis > nowMillis ? wall(atMillis) : 0
    const { circuit: { cooldownMillis, openUntilMillis }, host, status, strikes } = this
    const limit = this.window.limit
    const { perSecond } = this.pace
    const blockedUntilMillis = until(this.askedUntilMillis)
    const isWell = blockedUntilMillis === 0 && strikes === 0 && limit === undefined && perSecond === Infinity
    if (isWell && cooldownMillis === 0) return undefined
    return {
      host,
      blockedUntilMillis,
      blockStatus: status,
      strikes,
      struckAtMillis: wall(this.refusedAtMillis),
      concurrency: limit ?? null,
      cooldownMillis,
      openUntilMillis: until(openUntilMillis),
      restsUntilMillis: until(this.restsUntilMillis),
      ...(perSecond === Infinity ? undefined : { perSecond: Number(perSecond.toPrecision(2)) })
    }
  }

  /** Takes up what was remembered; what is stricter of its own stays. */
  recall(state: HostState, { nowMillis, wallMillis }: Moment): void {
    const mono = (atMillis: number) => atMillis === 0 ? Number.NEGATIVE_INFINITY : nowMillis + atMillis - wallMillis
    this.askedUntilMillis = Math.max(this.askedUntilMillis, mono(state.blockedUntilMillis))
    this.restsUntilMillis = Math.max(this.restsUntilMillis, mono(state.restsUntilMillis ?? 0))
    if (this.refusedAtMillis < mono(state.struckAtMillis)) {
      this.refusedAtMillis = mono(state.struckAtMillis)
      this.status = state.blockStatus
    }
    this.strikes = Math.max(this.strikes, state.strikes)
    if (state.concurrency !== null) this.window.recall(state.concurrency)
    this.pace.recall(state.perSecond ?? Infinity, nowMillis)
    this.circuit.recall(state.cooldownMillis, mono(state.openUntilMillis))
  }

  /** Whether it may be forgotten: nobody uses it, and what it holds is over. */
  isFresh(forgiveMillis: number, nowMillis: number): boolean {
    return this.inFlight === 0 && this.queued === 0 && this.askedUntilMillis <= nowMillis &&
      this.restsUntilMillis <= nowMillis && this.circuit.isFresh(nowMillis) &&
      this.refusedAtMillis + forgiveMillis <= nowMillis && this.rate.isFresh(nowMillis)
  }

  /** Asks less of a host that refuses too much, once for all requests that were under way together; whether nothing less can be asked. */
  private isExhausted({ perHost }: HostLimits, { isAgain, ticket }: Refused, nowMillis: number): boolean {
    const { pace, tolerance, window } = this
    const { isProbing } = window
    // A page that is refused again says nothing new of its host, as long as that serves others.
    const isOwn = isAgain && !this.latest.areMostlyRefusals
    if (ticket <= this.signalAt || tolerance.forgives(isOwn, isProbing, this.isUnhurried)) return false
    this.signalAt = this.started
    if (isProbing) window.giveBack()
    else {
      // Where the rate was found to be the limit it is looked at first.
      if (pace.perSecond < Infinity && pace.refused(nowMillis)) return false
      if (!window.narrow(perHost, this.latest.hasServed)) return !pace.refused(nowMillis)
    }
    tolerance.renew()
    return false
  }

  /** Whether clearly less is asked of the host than what was too much for it last. */
  private get isUnhurried(): boolean {
    return this.window.isLow && this.pace.isLow
  }

  /** Whoever waits for a place may ask again. */
  wake(): void {
    if (this.waiting.size === 0) return
    const waiting = [...this.waiting]
    this.waiting.clear()
    for (const each of waiting) each()
  }
}
