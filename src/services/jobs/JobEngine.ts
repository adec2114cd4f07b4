import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import type * as TaskGroup from "../tasks/TaskGroup.ts"
import type { JobId } from "./Job.ts"
import type { JobQueueError } from "./JobError.ts"
import type { Handler } from "./JobHandler.ts"
import { JobHeart } from "./JobHeart.ts"
import { JobLedger } from "./JobLedger.ts"
import { JobRunner } from "./JobRunner.ts"
import type { EngineOptions, Session, Tally } from "./JobSession.ts"
import { JobSettler } from "./JobSettler.ts"
import type { ClaimedJob, JobStore, Membership } from "./JobStore.ts"
import { Outage } from "./Outage.ts"

/** Claims ahead of the slots for so long at the speed of the moment, so that fast handlers never wait for a round trip. */
const aheadMillis = 50
/** Looks after going to sleep: they catch a job whose transaction was committing while we announced it. */
const probeMillis = [0, 5, 25, 100]
/** A worker that was busy for so long no longer asks to be woken. */
const busyMillis = 200
/** A job of a kind that nobody here knows waits so long. */
const unknownKindMillis = 5_000

/**
 * One membership of one worker: claims, runs and settles until it drains or its lease is lost. All of its state is touched
 * from one thread and between yields only, so it needs no locks.
 */
export class JobEngine<R> {
  readonly ended = Deferred.makeUnsafe<"drained" | "lost">()
  private readonly broken = Deferred.makeUnsafe<string>()
  /** What ran, or had run and was not settled, when the first of the engine's tasks ended. */
  private begunAtEnd: ReadonlyArray<JobId> | undefined
  private readonly ledger: JobLedger<R>
  private readonly settler: JobSettler
  private readonly runner: JobRunner<R>
  private readonly heart: JobHeart
  private readonly queues: ReadonlyArray<string>
  private readonly wake = Latch.makeUnsafe(false)
  private readonly want = Latch.makeUnsafe(true)
  private readonly idlers: Array<Deferred.Deferred<void>> = []
  private readonly outage = new Outage("the job store does not answer")
  private claiming = false
  private exhausted = false
  private nudged = false
  /** The number of the last claim. */
  private claims = 0
  /** That claim was not answered: it may have taken jobs that nobody here knows of. */
  private isUnsure = false
  private isIdle = false
  private ratePerMilli = 0
  private lastClaimAt = 0
  private settledAtLastClaim = 0

  private readonly store: JobStore["Service"]
  private readonly member: Membership
  private readonly group: TaskGroup.TaskGroup
  private readonly options: EngineOptions
  private readonly tally: Tally

  constructor(
    store: JobStore["Service"],
    member: Membership,
    group: TaskGroup.TaskGroup,
    handlers: ReadonlyArray<Handler<R>>,
    options: EngineOptions,
    tally: Tally
  ) {
    this.store = store
    this.member = member
    this.group = group
    this.options = options
    this.tally = tally
    this.queues = [...new Set(handlers.map((handler) => handler.kind.queue))]
    const session: Session = {
      store,
      worker: member.worker,
      group,
      options,
      tally,
      outage: this.outage,
      onRoom: () => {
        // When the last claim found less than it asked for, there is nothing to claim until we are told.
        if (this.exhausted && this.idlers.length === 0) return
        this.want.openUnsafe()
        this.wake.openUnsafe()
      },
      onReady: () => this.nudge()
    }
    this.ledger = new JobLedger(handlers)
    this.settler = new JobSettler(session)
    this.runner = new JobRunner(session, this.ledger, this.settler)
    this.heart = new JobHeart(session, member, {
      cancel: (id) => this.runner.cancel(id),
      lost: Effect.suspend(() => this.lost)
    })
  }

  /** Starts the engine's own tasks in its group. */
  get start(): Effect.Effect<void, TaskGroup.GroupClosed, R> {
    return Effect.gen({ self: this }, function*() {
      yield* this.vital("signals", this.listen)
      yield* this.vital("heartbeat", this.heart.beating)
      yield* this.vital("chores", this.heart.tending)
      yield* this.vital("settler", this.settler.run)
      yield* this.vital("timeouts", this.runner.reaper)
      yield* this.vital("claimer", this.claimer)
    })
  }

  /** Starts a task without which there is no session: its defect is the group's, and its interruption (which is none) the session's. */
  private vital(name: string, task: Effect.Effect<void, never, R>): Effect.Effect<void, TaskGroup.GroupClosed, R> {
    const watched = Effect.onExit(task, (exit) =>
      Effect.sync(() => {
        if (Exit.isSuccess(exit)) return
        this.begunAtEnd ??= [...this.runner.ids, ...this.settler.ids]
        this.runner.abandon()
        if (Cause.hasInterruptsOnly(exit.cause)) Deferred.doneUnsafe(this.broken, Exit.succeed(name))
      }))
    return this.group.spawn(watched, { name })
  }

  /** Why the session ended. Dies when one of the engine's tasks was interrupted while the session went on. */
  get end(): Effect.Effect<"drained" | "lost"> {
    const broken = Effect.flatMap(
      // Who was interrupted together with this very effect does not get beyond the yield.
      Effect.tap(Deferred.await(this.broken), Effect.yieldNow),
      (name) => Effect.die(`jobs: the task "${name}" was interrupted by somebody else than its worker`)
    )
    return Effect.raceFirst(Deferred.await(this.ended), broken)
  }

  /** After a defect: what was claimed and had not begun goes back unspent. What had begun counts, as when a worker dies. */
  get giveBack(): Effect.Effect<void> {
    return Effect.matchCauseEffect(this.store.giveBackUnknown(this.member.worker, this.claims, this.begunAtEnd ?? []), {
      onSuccess: () => Effect.void,
      // Leaving the fleet gives it back all the same, or the lapse of the lease does, and then it counts.
      onFailure: (cause) => Effect.logDebug("jobs: could not give back what had not begun", cause)
    })
  }

  // ---------------------------------------------------------------- claiming

  private get claimer(): Effect.Effect<void, never, R> {
    return Effect.gen({ self: this }, function*() {
      let probe = probeMillis.length
      let busySince = yield* Clock.currentTimeMillis
      while (!this.tally.draining) {
        yield* this.want.await
        if (this.tally.draining) break
        const now = yield* Clock.currentTimeMillis
        const requests = this.requests(now)
        if (requests.length === 0) {
          // Not asked is not exhausted: the next freed slot must ask.
          this.exhausted = false
          this.want.closeUnsafe()
          this.tally.claims.full()
          continue
        }
        this.tally.claims.wants(now)
        this.wake.closeUnsafe()
        this.nudged = false
        this.claiming = true
        const claimed = yield* Effect.exit(Effect.andThen(
          this.reconcile,
          Effect.suspend(() => this.store.claim(this.member.worker, ++this.claims, requests))
        ))
        this.claiming = false
        if (Exit.isFailure(claimed)) {
          this.isUnsure = true
          yield* this.outage.failed("claiming", claimed.cause)
          yield* Effect.sleep(Math.min(1000, this.options.pollMillis))
          continue
        }
        this.tally.claims.answered(now)
        // What became ready while the claim was on its way may have been missed by it, and a queue that was not asked may have anything.
        this.exhausted = !this.nudged && requests.length === this.queues.length &&
          requests.every(({ limit, queue }) => claimed.value.filter((job) => job.queue === queue).length < limit)
        if (claimed.value.length > 0) {
          yield* this.accept(claimed.value)
          if (this.isIdle && now - busySince > busyMillis) yield* this.announce(false)
          continue
        }
        if (!this.isIdle) {
          yield* this.announce(true)
          probe = 0
        }
        this.answerIdlers()
        const poll = this.options.pollMillis * (0.9 + 0.2 * ((this.member.worker * 0.618) % 1))
        const pause = Math.min(probeMillis[probe++] ?? poll, this.heart.nextDueMillis(now) ?? poll)
        yield* Effect.timeoutOption(this.rest(requests), Math.max(0, pause))
        busySince = yield* Clock.currentTimeMillis
      }
    })
  }

  /** Returns when there is something to claim beyond these requests, which found nothing: when told, or when there is room for a queue that they left out. */
  private rest(found: ReadonlyArray<{ readonly queue: string }>): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      while (true) {
        yield* this.wake.await
        // Whoever waits for this worker to be idle is not helped by claims while it is busy.
        if (this.nudged || (this.idlers.length > 0 && this.isAtRest)) return
        const now = yield* Clock.currentTimeMillis
        if (this.requests(now).some((request) => found.every(({ queue }) => queue !== request.queue))) return
        this.wake.closeUnsafe()
      }
    })
  }

  /** After a claim that failed: it may have been committed all the same, or be on its way still. What it took is given back, and it is refused. */
  private get reconcile(): Effect.Effect<void, JobQueueError> {
    return Effect.suspend(() => {
      if (!this.isUnsure) return Effect.void
      const known = [...this.ledger.ids, ...this.runner.ids, ...this.settler.ids]
      return Effect.map(this.store.giveBackUnknown(this.member.worker, this.claims, known), () => {
        this.isUnsure = false
      })
    })
  }

  private announce(idle: boolean): Effect.Effect<void> {
    return Effect.matchEffect(this.member.idle(idle), {
      onSuccess: () => Effect.sync(() => void (this.isIdle = idle)),
      // Not announced means not woken: the poll finds the jobs. What the store believes now is not known, so it is told again before the next sleep.
      onFailure: (error) =>
        Effect.andThen(
          Effect.sync(() => void (this.isIdle = false)),
          Effect.logDebug("jobs: could not announce idleness", error)
        )
    })
  }

  /** How many jobs of each queue fit now. */
  private requests(now: number): ReadonlyArray<{ readonly queue: string; readonly limit: number }> {
    const elapsed = now - this.lastClaimAt
    if (elapsed >= 10) {
      const rate = (this.tally.settled - this.settledAtLastClaim) / elapsed
      this.ratePerMilli = this.lastClaimAt === 0 ? 0 : (this.ratePerMilli + rate) / 2
      this.lastClaimAt = now
      this.settledAtLastClaim = this.tally.settled
    }
    const freeSlots = this.options.concurrency - this.runner.busy
    const freeTransactions = Math.min(freeSlots, this.options.transactions - this.runner.transacting)
    const ahead = Math.ceil(this.ratePerMilli * aheadMillis)
    const room = this.options.maxClaim * 4 - this.ledger.waiting - this.settler.size
    const out: Array<{ readonly queue: string; readonly limit: number }> = []
    for (const queue of this.queues) {
      let fits = ahead
      for (const lane of this.ledger.lanes) {
        if (lane.handler.kind.queue !== queue) continue
        fits += lane.handler.mode === "plain" ? freeSlots : freeTransactions * lane.group
      }
      const limit = Math.min(this.options.maxClaim, fits - this.ledger.waitingOf(queue), room)
      // At speed, many small claims cost more than fewer large ones.
      if (limit >= Math.max(1, Math.min(ahead, this.options.maxClaim) / 2)) out.push({ queue, limit })
    }
    return out
  }

  private accept(jobs: ReadonlyArray<ClaimedJob>): Effect.Effect<void, never, R> {
    return Effect.suspend(() => {
      let unknown: string | undefined
      for (const job of jobs) {
        const lane = this.ledger.byKind.get(job.kind)
        if (lane !== undefined) this.ledger.add(lane, job)
        else {
          unknown = job.kind
          this.settler.settle(job, { _tag: "Released", delayMillis: unknownKindMillis })
        }
      }
      const dispatch = this.runner.dispatch()
      return unknown === undefined
        ? dispatch
        : Effect.andThen(Effect.logWarning(`jobs: no handler here for kind "${unknown}": given back`), dispatch)
    })
  }

  // ------------------------------------------------- liveness, time, signals

  private nudge(): void {
    this.nudged = true
    this.exhausted = false
    this.wake.openUnsafe()
    this.want.openUnsafe()
  }

  private get listen(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      while (true) {
        const signal = yield* Queue.take(this.member.signals)
        if (signal._tag === "Wake") this.nudge()
        else yield* this.runner.cancel(signal.id)
      }
    })
  }

  private get lost(): Effect.Effect<void> {
    return Effect.andThen(this.runner.stop(() => true, "lost"), Deferred.succeed(this.ended, "lost"))
  }

  // ----------------------------------------------------------- idle and drain

  private get isAtRest(): boolean {
    return this.runner.busy === 0 && this.ledger.waiting === 0 && this.settler.size === 0
  }

  private answerIdlers(): void {
    if (!this.exhausted || !this.isAtRest) return
    for (const idler of this.idlers.splice(0)) Deferred.doneUnsafe(idler, Exit.void)
  }

  /** Waits until a claim that began after this call found nothing, and nothing is under way. */
  get idle(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const idler = Deferred.makeUnsafe<void>()
      // A claim that is on its way may have been made before the caller's last job.
      const register = Effect.sync(() => {
        this.idlers.push(idler)
        this.nudge()
      })
      const settled = Effect.repeat(Effect.yieldNow, { until: () => !this.claiming })
      return Effect.andThen(Effect.andThen(settled, register), Deferred.await(idler))
    })
  }

  get drain(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      this.tally.draining = true
      this.nudge()
      for (const job of this.ledger.clear()) this.settler.settle(job, { _tag: "Released", delayMillis: 0 })
      const slotsEnd = Effect.repeat(Effect.sleep(10), { until: () => this.runner.busy === 0 && !this.claiming })
      yield* Effect.timeoutOption(slotsEnd, this.options.drainGraceMillis)
      yield* this.runner.stop(() => true, "drain")
      yield* Effect.timeoutOption(slotsEnd, this.options.drainGraceMillis)
      for (const job of this.ledger.clear()) this.settler.settle(job, { _tag: "Released", delayMillis: 0 })
      yield* Effect.timeoutOption(this.settler.awaitFlushed, this.options.leaseMillis)
      yield* Deferred.succeed(this.ended, "drained")
    })
  }
}
