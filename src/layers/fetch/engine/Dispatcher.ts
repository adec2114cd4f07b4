/**
 * The dispatcher: takes calls in, starts as many attempts as the policy and the gates of the hosts allow, and settles each call once. It
 * is the only place that starts, puts back and settles; what it asks (gates, robots.txt, `Step`) answers with values.
 *
 * The life of a call:
 *
 *            add
 *             |
 *             v             the rules are not known: waits for robots.txt
 *     +--> robots.txt <-----------------------------------------------------+
 *     |       |---- disallowed, or not to be had within the patience -------|--> settled
 *     |       v                                                             |
 *     |     queued at the gate of its host <--- host shut, its turn passes  |
 *     |       |---- shut for longer than the patience, or out of time ------|--> settled
 *     |       v     host's turn, place at the gate, rate allows             |
 *     |     in flight: one attempt; with `hedge`, a second one beside it    |
 *     |       |     an attempt ends: Step.after                             |
 *     |       |---- Leave: the other attempt decides, or nobody wants it    |
 *     +-------|---- Redirect: at once, in front of the others               |
 *     +-------|---- Retry: after its wait, in front of the others           |
 *             +---- Settle: done, failed, or lost with its fiber ----------------> settled
 *
 * An attempt is a fiber; a call that waits is a link in a queue or an entry of the one timer. Rejected: a fiber for each call (five steps
 * of a fiber for a small GET instead of two, and memory for each URL that waits); a loop that takes events from a queue (one more turn of
 * the scheduler for each end); attempts that call back to be put back or settled (who decided stood in three files).
 */
import { type Cause, Context, type Fiber } from "effect"
import type { FetchError } from "../../../services/fetch/FetchError.ts"
import type { HostGate } from "../../../services/fetch/HostGate.ts"
import { RateGate, TokenBudget } from "../../../services/fetch/RateGate.ts"
import { CurrentTask, TaskNode } from "../../../services/tasks/TaskNode.ts"
import type { Attempt } from "./Attempt.ts"
import * as Call from "./Call.ts"
import { type HostQueue, HostQueues } from "./HostQueues.ts"
import type { Hub } from "./Hub.ts"
import { InFlight, type Means } from "./InFlight.ts"
import type { Limits } from "./Limits.ts"
import * as Step from "./Step.ts"

export interface DispatcherOptions extends Means {
  readonly limits: Limits
  /** Whether one more may be started: false while outcomes wait to be taken. */
  readonly hasRoom: () => boolean
  /** Calls were taken from the queues, a gate has opened or shut, or nothing is left: the source may have more now. */
  readonly onRoom: () => void
}

export class Dispatcher {
  private readonly options: DispatcherOptions
  private readonly hub: Hub
  private readonly limits: Limits
  /** In the live tree once its owner attaches it, until `close`. */
  readonly node: TaskNode
  private readonly queues = new HostQueues()
  private readonly inFlight: InFlight
  private readonly rate = new RateGate()
  private readonly hedges = new TokenBudget(10)
  /** Calls that wait for their next attempt, or for a robots.txt. */
  private waiting = 0
  /** Hosts whose robots.txt is on its way, when that matters here. */
  private readonly askedRobots: ReadonlySet<string>
  private wakesAtMillis = Infinity
  private isPumping = false
  private isClosed = false

  constructor(options: DispatcherOptions) {
    this.options = options
    this.hub = options.hub
    this.limits = options.limits
    this.askedRobots = options.limits.robots ? options.hub.robots.asked : new Set()
    const parent = Context.get(options.context, CurrentTask)
    const label = () =>
      `fetching: ${this.active} under way, ${this.queues.length} at gates, ${this.waiting} between attempts`
    this.node = new TaskNode("group", label, parent, options.hub.wallMillis())
    this.inFlight = new InFlight(options, this.node, (call, attempt, exit) => this.onEnd(call, attempt, exit))
  }

  /** Attempts under way. */
  get active(): number {
    return this.inFlight.count
  }

  /** Calls that wait for a place, at hosts that are not shut. */
  get queued(): number {
    return this.queues.openLength
  }

  /** Calls that wait, for whatever it be. */
  get held(): number {
    return this.queues.length + this.waiting
  }

  /** Nothing is under way and nothing waits. */
  get isIdle(): boolean {
    return this.active === 0 && this.held === 0
  }

  /** Hosts whose calls could not start now: their gate is shut, or their robots.txt is on its way. */
  closedHosts(): Set<string> {
    return new Set([...this.queues.shut, ...this.askedRobots])
  }

  /** Whether one of these hosts is not closed any more. */
  hasOpened(hosts: ReadonlySet<string>): boolean {
    for (const host of hosts) if (!this.queues.shut.has(host) && !this.askedRobots.has(host)) return true
    return false
  }

  add(call: Call.Call): void {
    this.enqueue(call, false)
  }

  /** Forgets a call. Its fibers are the caller's to interrupt. */
  cancel(call: Call.Call): ReadonlyArray<Fiber.Fiber<unknown, unknown>> {
    call.isCancelled = true
    if (call.sink !== undefined) this.options.fork(call.sink.close)
    return call.inFlight.flatMap(({ fiber }) => fiber ?? [])
  }

  /** Forgets calls wherever they are, and ends what is under way of them. */
  forget(calls: Iterable<Call.Call>): void {
    const fibers = Array.from(calls).flatMap((call) => this.cancel(call))
    this.queues.dropCancelled()
    // Only now: a place that becomes free goes to nothing that is forgotten.
    for (const fiber of fibers) fiber.interruptUnsafe()
  }

  /** Starts nothing any more. */
  close(): void {
    this.isClosed = true
    this.node.detach()
    this.hub.alarm.forget(this)
    this.queues.clear()
    this.hub.robots.forget(this)
  }

  /** Starts what may start now. */
  pump(): void {
    if (this.isPumping || this.isClosed) return
    this.isPumping = true
    const before = this.queued
    while (this.queued > 0 && this.active < this.limits.concurrency && this.options.hasRoom()) {
      const nowMillis = this.hub.alarm.now()
      const opensAtMillis = this.rate.opensAt(this.limits.ratePerSecond, nowMillis)
      if (opensAtMillis > nowMillis) {
        this.wakeAt(opensAtMillis)
        break
      }
      const queue = this.queues.takeTurn()
      if (queue === undefined) break
      this.startFrom(queue, nowMillis)
    }
    this.isPumping = false
    if (this.queued < before) this.options.onRoom()
  }

  /** The rate allows the next start then; one timer for however many ask. */
  private wakeAt(atMillis: number): void {
    if (this.wakesAtMillis <= atMillis) return
    this.wakesAtMillis = atMillis
    this.hub.alarm.at(atMillis, this, () => {
      this.wakesAtMillis = Infinity
      this.pump()
    })
  }

  private enqueue(call: Call.Call, isFront: boolean): void {
    if (this.isClosed) return
    // It may have been the last one that was waited for.
    if (call.isCancelled) return this.options.onRoom()
    const { current: { host }, limits } = call
    if (limits.robots && !this.passesRobots(call)) return
    const queue = this.queues.of(host) ?? this.queues.open(this.hub.gate(host, limits))
    this.queues.push(queue, call, isFront)
  }

  private wait(call: Call.Call, untilMillis: number): void {
    this.waiting++
    this.hub.alarm.at(untilMillis, this, () => this.resume(call))
  }

  /** Puts a call back that has waited, in front of the others; or ends it, if what it waited for has died. */
  private resume(call: Call.Call, died?: Cause.Cause<never>): void {
    this.waiting--
    if (died === undefined || call.isCancelled) this.enqueue(call, true)
    else call.settle(Call.lost(died), call)
    this.pump()
    this.options.onRoom()
  }

  /** Takes the next call of a host whose turn it is, as far as its gate allows. */
  private startFrom(queue: HostQueue, nowMillis: number): void {
    const { gate } = queue
    const refusal = gate.refusal(this.limits, nowMillis)
    const opensAtMillis = refusal === undefined ? gate.tryStart(this.limits, nowMillis) : undefined
    if (opensAtMillis !== undefined) return this.shutAt(gate, opensAtMillis)
    const call = this.queues.shift(queue)
    if (call === undefined || call.isCancelled) return refusal === undefined ? gate.end() : undefined
    if (refusal !== undefined) return this.fail(call, Step.refused(call, refusal, this.hub.now()))
    this.rate.start(this.limits.ratePerSecond, nowMillis)
    this.start(call, gate, nowMillis)
  }

  /** Starts an attempt of a call whose place at the gate is taken. */
  private start(call: Call.Call, gate: HostGate, nowMillis: number): void {
    if (call.startedAt < 0) gate.asked(call.limits)
    const late = Call.begin(call, nowMillis, this.hub.wallMillis())
    if (late !== undefined) {
      gate.end()
      return this.fail(call, late)
    }
    const attempt = this.inFlight.launch(call, gate, nowMillis)
    if (!Call.mayHedge(call)) return
    this.hub.alarm.at(nowMillis + call.limits.hedgeAfterMillis, this, () => this.hedge(call, attempt))
  }

  /** A second attempt beside one that has no response yet, if that is not asked too much of its host. */
  private hedge(call: Call.Call, attempt: Attempt): void {
    const isAlone = call.inFlight.length === 1 && call.inFlight[0] === attempt
    if (!isAlone || attempt.phase === "body" || call.isCancelled) return
    const nowMillis = this.hub.alarm.now()
    if (!this.hedges.spend(0, nowMillis)) return
    if (attempt.gate.tryStart(call.limits, nowMillis) === undefined) this.inFlight.launch(call, attempt.gate, nowMillis)
  }

  /** An attempt has ended: what is to be done with its call, then with its body and its place. */
  private onEnd(call: Call.Call, attempt: Attempt, exit: Step.AttemptExit): void {
    if (!this.isClosed) this.follow(call, Step.after(call, attempt, exit, this.hub.now()))
    // What there is of the body is either with the call now or not wanted any more.
    if (attempt.sink !== undefined && attempt.sink !== call.sink) this.options.fork(attempt.sink.close)
    // Only now: what the end has told of the host counts for who comes next.
    attempt.gate.end()
    this.pump()
    if (this.isIdle) this.options.onRoom()
  }

  private follow(call: Call.Call, step: Step.Step): void {
    if (step._tag === "Leave") return
    for (const other of call.inFlight) {
      other.isLoser = true
      other.interrupt()
    }
    switch (step._tag) {
      case "Settle":
        if (step.end._tag === "Done") this.hedges.earn(call.limits.hedgeRatio)
        return call.settle(step.end, call)
      case "Redirect":
        return this.enqueue(call, true)
      case "Retry":
        return this.wait(call, step.atMillis)
    }
  }

  private fail(call: Call.Call, error: FetchError): void {
    call.settle(Call.failed(call, error, undefined, this.hub.now()), call)
  }

  private shutAt(gate: HostGate, opensAtMillis: number): void {
    if (opensAtMillis < Infinity) return this.shutUntil(gate.host, opensAtMillis)
    // Only the end of a request can open it, or that none is refused for long.
    this.queues.shutHost(gate.host)
    gate.waiting.add(() => this.open(gate.host))
    const widensAtMillis = gate.widensAtMillis(this.limits)
    if (widensAtMillis < Infinity) this.hub.alarm.at(widensAtMillis, this, () => gate.wake())
  }

  private shutUntil(host: string, atMillis: number): void {
    this.queues.shutHost(host)
    this.hub.alarm.at(atMillis, this, () => this.open(host))
  }

  private open(host: string): void {
    if (this.isClosed) return
    this.queues.unshut(host)
    this.pump()
    this.options.onRoom()
  }

  /** Whether robots.txt lets a call pass; one that has to wait for it is put back when it has come. */
  private passesRobots(call: Call.Call): boolean {
    const { current, limits } = call
    const answer = this.hub.robots.ask(current, limits, { owner: this, onKnown: (died) => this.resume(call, died) })
    if (answer._tag === "Allowed") {
      if (answer.gapMillis > 0) this.hub.gate(current.host, limits).gapMillis = answer.gapMillis
      return true
    }
    if (answer._tag === "Refused") this.fail(call, answer.error)
    else if (answer._tag === "Wait") {
      // Until then its host has nothing to do.
      this.shutUntil(current.host, answer.untilMillis)
      this.wait(call, answer.untilMillis)
    } else {
      this.waiting++
      if (answer.call !== undefined) this.enqueue(answer.call, true)
    }
    return false
  }
}
