import { Clock, Deferred, Effect, Exit, Latch } from "effect"
import * as ClaimPolicy from "../../../services/jobs/ClaimPolicy.ts"
import type { JobId } from "../../../services/jobs/Job.ts"
import type { JobStore, Membership } from "../../../services/jobs/JobStore.ts"
import type { WorkerSettings } from "../../../services/jobs/WorkerSettings.ts"
import type { Outage } from "../../../services/postgres/Outage.ts"
import type { Backlog } from "./Backlog.ts"
import type { Runner } from "./Runner.ts"
import type { Settler } from "./Settler.ts"
import type { Tally } from "./Tally.ts"

/** Claims ahead of the slots for so long at the speed of the moment, so that fast handlers never wait for a round trip. */
const aheadMillis = 50
/** The speed is measured over so long at least. */
const paceMillis = 10

/** What a claimer works with. */
export interface ClaimerParts<R> {
  readonly store: JobStore["Service"]
  readonly member: Membership
  readonly settings: WorkerSettings
  readonly tally: Tally
  readonly outage: Outage
  readonly backlog: Backlog<R>
  readonly runner: Runner<R>
  readonly settler: Settler
}

const freed: ClaimPolicy.Event = { _tag: "Freed" }
const ready: ClaimPolicy.Event = { _tag: "Ready" }
const awaited: ClaimPolicy.Event = { _tag: "Awaited" }
const draining: ClaimPolicy.Event = { _tag: "Draining" }
const elapsed: ClaimPolicy.Event = { _tag: "Elapsed" }
const reconciled: ClaimPolicy.Event = { _tag: "Reconciled" }

/** Claims jobs for the runner: does what the state of `ClaimPolicy` says, and tells it what came of it. */
export class Claimer<R> {
  private readonly parts: ClaimerParts<R>
  private readonly rules: ClaimPolicy.Rules
  private state: ClaimPolicy.State = ClaimPolicy.initial
  private readonly changed = Latch.makeUnsafe(false)
  private readonly closed = Latch.makeUnsafe(false)
  private readonly idlers: Array<Deferred.Deferred<void>> = []
  private ratePerMilli = 0
  private measuredAtMillis = 0
  private settledThen = 0
  /** The number of the last claim. */
  private last = 0

  constructor(parts: ClaimerParts<R>) {
    const { backlog, member, settings } = parts
    this.parts = parts
    // Workers that fell asleep together do not poll together.
    const spread = 0.9 + 0.2 * ((member.worker * 0.618) % 1)
    this.rules = { queues: backlog.queues.length, pollMillis: settings.pollMillis * spread }
  }

  /** The number of the last claim. */
  get claims(): number {
    return this.last
  }

  /** The jobs that this worker knows to be its own. */
  private get known(): ReadonlyArray<JobId> {
    const { backlog, runner, settler } = this.parts
    return [...backlog.ids, ...runner.ids, ...settler.ids]
  }

  private get isAtRest(): boolean {
    const { backlog, runner, settler } = this.parts
    return runner.busy === 0 && backlog.waiting === 0 && settler.size === 0
  }

  // ------------------------------------------------------------------ events

  /** There may be room for more jobs. */
  freed(): void {
    this.feed(freed)
  }

  /** Something is ready, or may be. */
  ready(): void {
    this.feed(ready)
  }

  /** Claims no more; `awaitClosed` waits for the answer that is on its way. */
  drain(): void {
    this.feed(draining)
  }

  /** Waits until no claim is on its way and none follows. */
  get awaitClosed(): Effect.Effect<void> {
    return this.closed.await
  }

  /** Waits until a claim that began after this call found nothing, and nothing is under way. */
  get idle(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const idler = Deferred.makeUnsafe<void>()
      this.idlers.push(idler)
      this.feed(awaited)
      return Deferred.await(idler)
    })
  }

  /** Jobs are freed far more often than something fits: the loop is woken only when there is something else to do. */
  private feed(event: ClaimPolicy.Event): void {
    const before = this.state
    let after = ClaimPolicy.next(before, event, this.rules)
    if (after._tag === "Looking") {
      after = ClaimPolicy.next(after, { _tag: "Fits", requests: this.requests, isAtRest: this.isAtRest }, this.rules)
    }
    if (after === before) return
    this.state = after
    if (after._tag === "Full") this.parts.tally.claims.full()
    if (after._tag === "Closed") this.closed.openUnsafe()
    const answered = before.memory.isAwaited && !after.memory.isAwaited ? this.idlers.splice(0) : []
    this.changed.openUnsafe()
    // Last, as whoever waits goes on at once and may ask again.
    for (const idler of answered) Deferred.doneUnsafe(idler, Exit.void)
  }

  // ----------------------------------------------------------------- actions

  /** Claims until it is closed. */
  get run(): Effect.Effect<void, never, R> {
    return Effect.gen({ self: this }, function*() {
      this.ready()
      while (this.state._tag !== "Closed") {
        this.changed.closeUnsafe()
        yield* this.act(this.state)
      }
    })
  }

  private act(state: ClaimPolicy.State): Effect.Effect<void, never, R> {
    switch (state._tag) {
      case "Asking":
        return this.ask(state.requests)
      case "Announcing":
        return this.announce(state.isAsleep)
      case "Reconciling":
        return this.reconcile
      case "Resting":
      case "Failing":
        return this.pause(state)
      default:
        return this.changed.await
    }
  }

  private ask(requests: ReadonlyArray<ClaimPolicy.Request>): Effect.Effect<void, never, R> {
    return Effect.gen({ self: this }, function*() {
      const { member, runner, store, tally } = this.parts
      const beforeMillis = yield* Clock.currentTimeMillis
      tally.claims.wants(beforeMillis)
      this.measure(beforeMillis)
      const claimed = yield* Effect.exit(Effect.suspend(() => store.claim(member.worker, ++this.last, requests)))
      if (Exit.isFailure(claimed)) {
        yield* this.failed("claiming", claimed.cause)
        return
      }
      const nowMillis = yield* Clock.currentTimeMillis
      tally.claims.answered(nowMillis)
      const jobs = claimed.value
      if (jobs.length > 0) yield* runner.accept(jobs)
      this.feed({ _tag: "Answered", jobs: jobs.length, isAtRest: this.isAtRest, nowMillis })
    })
  }

  private announce(isAsleep: boolean): Effect.Effect<void> {
    return Effect.matchEffect(this.parts.member.idle(isAsleep), {
      onSuccess: () => Effect.sync(() => this.feed({ _tag: "Announced", isHeard: true })),
      onFailure: (error) =>
        Effect.andThen(
          Effect.logDebug("jobs: could not announce idleness", error),
          Effect.sync(() => this.feed({ _tag: "Announced", isHeard: false }))
        )
    })
  }

  /** What a claim without an answer took is given back; when it is still on its way, it is refused. */
  private get reconcile(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { member, store } = this.parts
      return Effect.matchCauseEffect(store.giveBackUnknown(member.worker, this.last, this.known), {
        onSuccess: () => Effect.sync(() => this.feed(reconciled)),
        onFailure: (cause) => this.failed("claiming", cause)
      })
    })
  }

  private failed(doing: string, cause: unknown): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      yield* this.parts.outage.failed(doing, cause)
      this.feed({ _tag: "Failed", nowMillis: yield* Clock.currentTimeMillis })
    })
  }

  /** Waits for the end of a state that has a time, or for an event. */
  private pause(state: Extract<ClaimPolicy.State, { readonly untilMillis: number }>): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      const millis = Math.max(0, state.untilMillis - (yield* Clock.currentTimeMillis))
      yield* Effect.timeoutOption(this.changed.await, millis)
      if (this.state === state) this.feed(elapsed)
    })
  }

  /** How many jobs of each queue fit now. */
  private get requests(): ReadonlyArray<ClaimPolicy.Request> {
    const { backlog, runner, settings: { maxClaim }, settler } = this.parts
    const { freeSlots, freeTransactions } = runner
    const ahead = Math.ceil(this.ratePerMilli * aheadMillis)
    const room = maxClaim * 4 - backlog.waiting - settler.size
    // At speed, many small claims cost more than fewer large ones.
    const least = Math.max(1, Math.min(ahead, maxClaim) / 2)
    const requests: Array<ClaimPolicy.Request> = []
    for (const queue of backlog.queues) {
      const limit = Math.min(maxClaim, ahead + backlog.roomOf(queue, freeSlots, freeTransactions), room)
      if (limit >= least) requests.push({ queue, limit })
    }
    return requests
  }

  /** Finds out how many jobs are settled in a millisecond, lately. */
  private measure(nowMillis: number): void {
    const { settled } = this.parts.tally
    const elapsedMillis = nowMillis - this.measuredAtMillis
    if (elapsedMillis < paceMillis) return
    const rate = (settled - this.settledThen) / elapsedMillis
    this.ratePerMilli = this.measuredAtMillis === 0 ? 0 : (this.ratePerMilli + rate) / 2
    this.measuredAtMillis = nowMillis
    this.settledThen = settled
  }
}
