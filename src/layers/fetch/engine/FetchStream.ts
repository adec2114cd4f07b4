/**
 * Targets in, outcomes out: a source through a dispatcher to a stream. Nothing grows with the length of the source: as many targets are
 * pulled as can be started soon, and none is started while too many outcomes wait to be taken.
 */
import { Cause, Clock, Context, Effect, FiberSet, Pull, Result, type Scope, Stream } from "effect"
import type * as HttpClientError from "effect/http/HttpClientError"
import { BodyStore } from "../../../services/fetch/BodyStore.ts"
import type { Fetched } from "../../../services/fetch/Fetcher.ts"
import type { FetchError } from "../../../services/fetch/FetchError.ts"
import { FetchPolicy } from "../../../services/fetch/FetchPolicy.ts"
import { type FetchRequest, type FetchTarget, parseTarget } from "../../../services/fetch/FetchRequest.ts"
import type { FetchSource, FetchSupply, Lending } from "../../../services/fetch/FetchSource.ts"
import { BodySink, type Wants } from "./BodySink.ts"
import * as Call from "./Call.ts"
import { Dispatcher } from "./Dispatcher.ts"
import type { Hub } from "./Hub.ts"
import type { Means } from "./InFlight.ts"
import * as Limits from "./Limits.ts"

/** Targets of a stream that are held to find open hosts among them; it gives what comes next, whoever's it is. */
const requestsWindow = 4096

/** Targets that may wait in all, those of hosts that are shut included; four windows when that is more. */
const heldMin = 16_384

/** Every target of a source. Leaving the stream interrupts what is in flight and waits until it has ended. */
export const fromSource = <E, R>(hub: Hub, source: FetchSource<E, R>): Stream.Stream<Fetched, E, R> =>
  make(hub, 0, () => Effect.succeed(source))

/** Every request of a stream; those that are invalid are answered without a call. */
export const fromRequests = <E, R>(
  hub: Hub,
  requests: Stream.Stream<FetchRequest, E, R>
): Stream.Stream<Fetched, E, R> => make(hub, requestsWindow, (onInvalid) => requestsSource(requests, onInvalid))

type MakeSource<E, R> = (
  onInvalid: (fetched: Fetched) => void
) => Effect.Effect<FetchSource<E, R>, never, R | Scope.Scope>

/** @param windowMin targets to hold at least */
const make = <E, R>(hub: Hub, windowMin: number, makeSource: MakeSource<E, R>): Stream.Stream<Fetched, E, R> =>
  Stream.unwrap(Effect.gen(function*() {
    // Added before the fibers, so run after them: what they leave of bodies is thrown away when they have ended.
    const sinks = new Set<BodySink>()
    yield* Effect.addFinalizer(() => BodySink.closeAll(sinks))
    const fibers = yield* FiberSet.make<unknown, HttpClientError.HttpClientError | FetchError>()
    const fork = yield* FiberSet.runtime(fibers)()
    const context = yield* Effect.context()
    const stream = new FetchStream<E>({ hub, fork, sinks, context }, windowMin)
    yield* Effect.addFinalizer(() => Effect.sync(() => stream.close()))
    const source = yield* makeSource((fetched) => stream.push(fetched))
    stream.open(source.lending)
    yield* Effect.forkScoped(Effect.catchCause(stream.feed(source), (cause) => Effect.sync(() => stream.fail(cause))))
    return Stream.fromPull(Effect.succeed(stream.pull))
  }))

class FetchStream<E> {
  private readonly hub: Hub
  private readonly limits: Limits.Limits
  /** For targets that came over the network. */
  private readonly untrustedLimits: Limits.Limits
  private readonly wants: Wants
  private readonly dispatcher: Dispatcher
  /** Targets that wait at most, at hosts that are not shut: so many that there is a choice of hosts. */
  private readonly window: number
  private readonly heldMax: number
  private readonly outcomesMax: number
  /** Outcomes that wait for the stream's consumer, who takes all of them at once. */
  private outcomes: Array<Fetched> = []
  private failure: Cause.Cause<E> | undefined = undefined
  private isSourceDone = false
  private lending: Lending = kept
  /** Calls of targets that can be lost to another process. */
  private readonly lent = new Set<Call.Call>()
  private unlisten = (): void => {}
  private wakeFeed = (): void => {}
  private wakeReader = (): void => {}

  constructor(means: Means, windowMin: number) {
    const policy = Context.get(means.context, FetchPolicy)
    const limits = Limits.of(policy)
    this.hub = means.hub
    this.limits = limits
    this.untrustedLimits = Limits.ofUntrusted(policy)
    this.wants = { store: Context.getOrUndefined(means.context, BodyStore), keeps: false, cutBytes: undefined }
    this.window = Math.max(windowMin, 4 * limits.concurrency, 256)
    this.heldMax = Math.max(heldMin, 4 * this.window)
    this.outcomesMax = Math.max(64, 2 * limits.concurrency)
    this.dispatcher = new Dispatcher({
      ...means,
      limits,
      hasRoom: () => this.hasRoom,
      onRoom: () => {
        this.wakeFeed()
        if (this.dispatcher.isIdle) this.wakeReader()
      }
    })
  }

  push(fetched: Fetched): void {
    this.outcomes.push(fetched)
    this.wakeReader()
  }

  /** Ends the stream with this, after what is here. */
  fail(cause: Cause.Cause<E>): void {
    this.failure ??= cause
    this.wakeReader()
  }

  close(): void {
    this.unlisten()
    this.dispatcher.close()
  }

  /** Shows itself in the live tree, and hears of what becomes of targets that are lent; `close` ends both. */
  open(lending: Lending | undefined): void {
    this.dispatcher.node.attach()
    if (lending === undefined) return
    this.lending = lending
    this.unlisten = lending.listen((change) => {
      if (change === "lost") {
        const lost = Array.from(this.lent)
        // Before they end, which makes room for others that are not lost.
        this.lent.clear()
        this.dispatcher.forget(lost)
      }
      this.dispatcher.pump()
      this.wakeFeed()
      this.wakeReader()
    })
  }

  /** Pulls targets whenever there is room for a good part of the window, until there are no more. */
  feed<R>(source: FetchSource<E, R>): Effect.Effect<void, E, R> {
    return Effect.suspend(() => {
      if (!this.mayPull()) return Effect.flatMap(this.until(() => this.mayPull()), () => this.feed(source))
      const closedHosts = this.dispatcher.closedHosts()
      return Effect.flatMap(source.pull({ limit: this.room, closedHosts }), (supply) => {
        if (supply._tag === "Done") {
          this.isSourceDone = true
          this.wakeReader()
          return Effect.void
        }
        if (supply._tag === "Wait") {
          const opened = this.until(() => this.dispatcher.hasOpened(closedHosts))
          return Effect.flatMap(Effect.raceFirst(supply.wake, opened), () => this.feed(source))
        }
        this.take(supply)
        return this.feed(source)
      })
    })
  }

  readonly pull: Pull.Pull<readonly [Fetched, ...Array<Fetched>], E> = Effect.suspend(() => {
    const [first, ...rest] = this.outcomes
    if (first !== undefined) {
      this.outcomes = []
      this.dispatcher.pump()
      this.wakeFeed()
      return Effect.succeed([first, ...rest])
    }
    if (this.failure !== undefined) return Effect.failCause(this.failure)
    if (this.isFinished) return Cause.done()
    // After the first one, the rest of this turn's outcomes: one step of the stream for all of them.
    return Effect.flatMap(this.some, () => Effect.flatMap(Effect.yieldNow, () => this.pull))
  })

  /** Waits until there is something to take, or nothing will come any more. */
  private readonly some: Effect.Effect<void> = Effect.callback<void>((resume) => {
    const look = () => {
      this.wakeReader = () => {}
      resume(Effect.void)
    }
    if (this.outcomes.length > 0 || this.failure !== undefined || this.isFinished) look()
    else this.wakeReader = look
  })

  private get isFinished(): boolean {
    return this.isSourceDone && this.dispatcher.isIdle
  }

  /** Whether one more attempt may be started. */
  private get hasRoom(): boolean {
    return this.dispatcher.active + this.outcomes.length < this.limits.concurrency + this.outcomesMax &&
      this.lending.isSure()
  }

  /** Targets that may be pulled: those of hosts that are shut hold nobody up, until there are very many. */
  private get room(): number {
    return Math.min(this.window - this.dispatcher.queued, this.heldMax - this.dispatcher.held)
  }

  private mayPull(): boolean {
    return this.outcomes.length < this.outcomesMax && this.room >= Math.max(1, this.window >> 1)
  }

  /** Waits until that is so; it is looked at again whenever something was taken, or a host has opened or shut. */
  private until(isDue: () => boolean): Effect.Effect<void> {
    return Effect.callback((resume) => {
      this.wakeFeed = () => {
        if (!isDue()) return
        this.wakeFeed = () => {}
        resume(Effect.void)
      }
      this.wakeFeed()
    })
  }

  private take({ hosts, targets }: Targets): void {
    if (hosts !== undefined) {
      const now = this.hub.now()
      for (const host of hosts) this.hub.gate(host.host, this.limits).recall(host, now)
    }
    for (const target of targets) {
      const call = Call.make({
        target,
        limits: target.untrusted === true ? this.untrustedLimits : this.limits,
        wants: this.wants,
        context: undefined,
        settle: this.settle
      })
      if (this.lending !== kept) this.lent.add(call)
      this.dispatcher.add(call)
    }
    this.dispatcher.pump()
  }

  private readonly settle = (end: Call.End, call: Call.Call): void => {
    this.lent.delete(call)
    if (end._tag === "Lost") return this.fail(end.cause)
    const { target } = call
    const host = this.hub.gate(target.host, this.limits).remembered(this.hub.now())
    this.push(host === undefined ? { target, outcome: end.outcome } : { target, outcome: end.outcome, host })
  }
}

type Targets = Extract<FetchSupply, { readonly _tag: "Targets" }>

/** What nobody else can take. */
const kept: Lending = { isSure: () => true, listen: () => () => {} }

/** A stream of requests as a source of targets. */
const requestsSource = <E, R>(
  requests: Stream.Stream<FetchRequest, E, R>,
  onInvalid: (fetched: Fetched) => void
): Effect.Effect<FetchSource<E, R>, never, R | Scope.Scope> =>
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const pullRequests = yield* Stream.toPull(requests)
    let chunk: ReadonlyArray<FetchRequest> = []
    let at = 0
    const take = (limit: number): ReadonlyArray<FetchTarget> => {
      const targets: Array<FetchTarget> = []
      while (at < chunk.length && targets.length < limit) {
        const request = chunk[at++]
        if (request === undefined) continue
        const parsed = parseTarget(request)
        if (Result.isSuccess(parsed)) targets.push(parsed.success)
        else {
          const outcome = Call.invalid(request, parsed.failure, clock.currentTimeMillisUnsafe())
          onInvalid({ target: { request, url: request.url, origin: "", host: "", path: "" }, outcome })
        }
      }
      return targets
    }
    const pull: FetchSource<E, R>["pull"] = (demand) =>
      Effect.suspend(() => {
        const targets = take(demand.limit)
        if (targets.length > 0) return Effect.succeed<FetchSupply>({ _tag: "Targets", targets })
        return Pull.matchEffect(pullRequests, {
          onSuccess: (requests) => {
            chunk = requests
            at = 0
            return pull(demand)
          },
          onFailure: (cause): Effect.Effect<FetchSupply, E> => Effect.failCause(cause),
          onDone: () => Effect.succeed<FetchSupply>({ _tag: "Done" })
        })
      })
    return { pull }
  })
