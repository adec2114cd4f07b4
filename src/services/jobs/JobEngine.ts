import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import type * as TaskGroup from "../tasks/TaskGroup.ts"
import type { Attempt } from "./Job.ts"
import { JobDiscard, JobLeaseLost, type JobQueueError } from "./JobError.ts"
import type { BatchItem, Handler } from "./JobHandler.ts"
import { JobLedger, type Lane, type Unit } from "./JobLedger.ts"
import type { ClaimedJob, CronEntry, JobStore, Membership, Settlement, Verdict } from "./JobStore.ts"
import * as JobVerdict from "./JobVerdict.ts"

/** Everything an engine is told, in milliseconds. */
export interface EngineOptions {
  readonly concurrency: number
  readonly transactions: number
  readonly maxClaim: number
  readonly beatMillis: number
  readonly leaseMillis: number
  readonly pollMillis: number
  readonly drainGraceMillis: number
  readonly crons: ReadonlyArray<CronEntry>
}

/** Counts that outlive a session. */
export interface Tally {
  running: number
  buffered: number
  settled: number
  lost: number
  draining: boolean
}

/** Claims ahead of the slots for so long at the speed of the moment, so that fast handlers never wait for a round trip. */
const aheadMillis = 50
/** Looks after going to sleep: they catch a job whose transaction was committing while we announced it. */
const probeMillis = [0, 5, 25, 100]
/** Settlements written in one statement. */
const maxSettle = 2_000
/** A transaction that lost a deadlock is run again so often before it counts as an attempt. */
const conflictRetries = 5
/** A job whose attempt the database cut short, or whose kind nobody here knows, waits so long. */
const givenBackMillis = 500
const unknownKindMillis = 5_000

interface Slot<R> {
  unit: Unit<R> | undefined
  task: TaskGroup.Task<void> | undefined
}

/**
 * One membership of one worker: claims, runs and settles until it drains or its lease is lost. All of its state is touched
 * from one thread and between yields only, so it needs no locks.
 */
export class JobEngine<R> {
  readonly ended = Deferred.makeUnsafe<"drained" | "lost">()
  private readonly ledger: JobLedger<R>
  private readonly queues: ReadonlyArray<string>
  private readonly slots = new Set<Slot<R>>()
  private readonly wake = Latch.makeUnsafe(false)
  private readonly want = Latch.makeUnsafe(true)
  private readonly work = Latch.makeUnsafe(false)
  private readonly flushed = Latch.makeUnsafe(true)
  private readonly idlers: Array<Deferred.Deferred<void>> = []
  private transacting = 0
  private settling = 0
  private claiming = false
  private exhausted = false
  private isIdle = false
  private nextDueMillis: number | undefined
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
    this.ledger = new JobLedger(handlers)
    this.queues = [...new Set(handlers.map((handler) => handler.kind.queue))]
  }

  /** Starts the engine's own tasks in its group. */
  get start(): Effect.Effect<void, TaskGroup.GroupClosed, R> {
    return Effect.gen({ self: this }, function*() {
      yield* this.group.spawn(this.listen, { name: "signals" })
      yield* this.group.spawn(this.heartbeat, { name: "heartbeat" })
      yield* this.group.spawn(this.settler, { name: "settler" })
      yield* this.group.spawn(this.reaper, { name: "timeouts" })
      yield* this.group.spawn(this.claimer, { name: "claimer" })
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
          this.want.closeUnsafe()
          continue
        }
        this.wake.closeUnsafe()
        this.claiming = true
        const claimed = yield* Effect.exit(this.store.claim(this.member.worker, requests))
        this.claiming = false
        if (Exit.isFailure(claimed)) {
          yield* Effect.logWarning("jobs: claim failed, trying again", claimed.cause)
          yield* Effect.sleep(Math.min(1000, this.options.pollMillis))
          continue
        }
        this.exhausted = requests.every(({ limit, queue }) =>
          claimed.value.filter((job) => job.queue === queue).length < limit
        )
        if (claimed.value.length > 0) {
          yield* this.accept(claimed.value)
          if (this.isIdle && now - busySince > 200) yield* this.announce(false)
          continue
        }
        if (!this.isIdle) {
          yield* this.announce(true)
          probe = 0
        }
        this.answerIdlers()
        const poll = this.options.pollMillis * (0.9 + 0.2 * ((this.member.worker * 0.618) % 1))
        const pause = Math.min(probeMillis[probe++] ?? poll, this.nextDueMillis ?? poll)
        yield* Effect.timeoutOption(this.wake.await, Math.max(0, pause))
        busySince = yield* Clock.currentTimeMillis
      }
    })
  }

  private announce(idle: boolean): Effect.Effect<void> {
    return Effect.matchEffect(this.member.idle(idle), {
      onSuccess: () => Effect.sync(() => void (this.isIdle = idle)),
      // Not announced means not woken: the poll finds the jobs.
      onFailure: (error) => Effect.logDebug("jobs: could not announce idleness", error)
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
    const freeSlots = this.options.concurrency - this.slots.size
    const freeTransactions = Math.min(freeSlots, this.options.transactions - this.transacting)
    const ahead = Math.ceil(this.ratePerMilli * aheadMillis)
    const room = this.options.maxClaim * 4 - this.ledger.waiting - this.ledger.settlements.length - this.settling
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
          this.settle(job, { _tag: "Released", delayMillis: unknownKindMillis })
        }
      }
      const dispatch = this.dispatch()
      return unknown === undefined
        ? dispatch
        : Effect.andThen(Effect.logWarning(`jobs: no handler here for kind "${unknown}": given back`), dispatch)
    })
  }

  // ----------------------------------------------------------------- running

  /** Opens slots while there is work for them. */
  private dispatch(): Effect.Effect<void, never, R> {
    return Effect.suspend(() => {
      const opened: Array<Slot<R>> = []
      while (this.slots.size < this.options.concurrency && this.ledger.waiting > 0) {
        const unit = this.ledger.take(this.transacting < this.options.transactions, 0)
        if (unit === undefined) break
        const slot: Slot<R> = { unit, task: undefined }
        this.begin(slot, unit)
        this.slots.add(slot)
        opened.push(slot)
      }
      return opened.length === 0 ? Effect.void : Effect.forEach(opened, (slot) =>
        Effect.matchEffect(
          this.group.spawn(this.runSlot(slot), { name: () => describe(slot.unit) }),
          {
            onSuccess: (task) => Effect.sync(() => void (slot.task = task)),
            // Only a group that is being cancelled takes no tasks, and its jobs are no longer ours.
            onFailure: () => Effect.sync(() => void this.slots.delete(slot))
          }
        ), { discard: true })
    })
  }

  private begin(slot: Slot<R>, unit: Unit<R>): void {
    slot.unit = unit
    this.tally.running += unit.jobs.length
    this.tally.buffered = this.ledger.waiting
    if (unit.lane.handler.mode !== "plain") this.transacting++
  }

  private finish(unit: Unit<R>): void {
    this.tally.running -= unit.jobs.length
    if (unit.lane.handler.mode !== "plain") this.transacting--
    if (!this.exhausted || this.idlers.length > 0) this.want.openUnsafe()
  }

  /** Runs unit after unit in one fiber; an interruption ends the slot, and another takes its place. */
  private runSlot(slot: Slot<R>): Effect.Effect<void, never, R> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.gen({ self: this }, function*() {
        while (true) {
          const unit = slot.unit
          if (unit === undefined) break
          unit.startedAtMillis = yield* Clock.currentTimeMillis
          unit.deadlineMillis += unit.startedAtMillis
          const exit = yield* Effect.exit(restore(this.runUnit(unit)))
          this.finish(unit)
          slot.unit = undefined
          if (Exit.isFailure(exit)) yield* this.interrupted(unit, exit.cause)
          // An interruption that came too late for its unit must not hit the next one.
          if (Exit.isFailure(exit) || unit.stop !== undefined) break
          const next = this.ledger.take(this.transacting < this.options.transactions, 0)
          if (next !== undefined) this.begin(slot, next)
        }
        this.slots.delete(slot)
        this.want.openUnsafe()
        if (this.tally.draining && this.slots.size === 0) this.work.openUnsafe()
        yield* this.dispatch()
      })
    )
  }

  private runUnit(unit: Unit<R>): Effect.Effect<void, never, R> {
    const items: Array<BatchItem<unknown>> = []
    const jobs: Array<ClaimedJob> = []
    for (const job of unit.jobs) {
      const decoded = unit.lane.handler.decode(job.payload)
      if (Result.isSuccess(decoded)) {
        items.push({ payload: decoded.success, attempt: attemptOf(job) })
        jobs.push(job)
      } else {
        const failure = { reason: "PayloadInvalid", message: decoded.failure.slice(0, 4000) } as const
        this.settle(job, { _tag: "Dead", failure })
      }
    }
    if (jobs.length === 0) return Effect.void
    return unit.lane.handler.mode === "plain"
      ? this.runPlain(unit.lane, jobs, items)
      : this.runTransaction(unit.lane, jobs, items, conflictRetries)
  }

  private runPlain(lane: Lane<R>, jobs: ReadonlyArray<ClaimedJob>, items: ReadonlyArray<BatchItem<unknown>>) {
    return Effect.matchCauseEffect(lane.handler.run(items), {
      onSuccess: (values) => {
        for (const [index, job] of jobs.entries()) this.settle(job, this.succeeded(lane, values?.[index]))
        return Effect.void
      },
      onFailure: (cause) =>
        Cause.hasInterruptsOnly(cause) ? Effect.failCause(cause as Cause.Cause<never>) : this.fails(lane, jobs, cause)
    })
  }

  private fails(lane: Lane<R>, jobs: ReadonlyArray<ClaimedJob>, cause: Cause.Cause<unknown>): Effect.Effect<void> {
    return Effect.forEach(
      jobs,
      (job) => Effect.map(JobVerdict.ofCause(lane.handler, job, cause), (verdict) => this.settle(job, verdict)),
      { discard: true }
    )
  }

  /** The handler, and the fenced settle, in one transaction. */
  private runTransaction(
    lane: Lane<R>,
    jobs: ReadonlyArray<ClaimedJob>,
    items: ReadonlyArray<BatchItem<unknown>>,
    retries: number
  ): Effect.Effect<void, never, R> {
    const transaction = this.store.transact(
      Effect.flatMap(lane.handler.run(items), (values): Effect.Effect<void, unknown> => {
        const settlements: Array<Settlement> = []
        for (const [index, job] of jobs.entries()) {
          const verdict = this.succeeded(lane, values?.[index])
          // A result that cannot be encoded is the job's failure, so nothing of it may be committed.
          if (verdict._tag === "Dead") return Effect.fail(new JobDiscard({ detail: verdict.failure.message }))
          settlements.push({ job, verdict })
        }
        return this.store.settleAll(this.member.worker, settlements)
      })
    )
    return Effect.matchCauseEffect(transaction, {
      onSuccess: (): Effect.Effect<void, never, R> => {
        this.tally.settled += jobs.length
        lane.group = Math.min(lane.handler.maxGroup, Math.ceil(lane.group * 1.25) + 1)
        // What waited behind these keys is ready now.
        if (jobs.some((job) => job.key !== null)) this.nudge()
        return Effect.void
      },
      onFailure: (cause) => {
        if (Cause.hasInterruptsOnly(cause)) return Effect.failCause(cause as Cause.Cause<never>)
        return this.transactionFailed(lane, jobs, items, cause, retries)
      }
    })
  }

  private transactionFailed(
    lane: Lane<R>,
    jobs: ReadonlyArray<ClaimedJob>,
    items: ReadonlyArray<BatchItem<unknown>>,
    cause: Cause.Cause<unknown>,
    retries: number
  ): Effect.Effect<void, never, R> {
    const trouble = JobVerdict.troubleOf(cause)
    if (trouble === "conflict" && retries > 0) {
      const pause = 5 + ((Number(jobs[0]?.id ?? 0) * 7 + retries * 13) % 30)
      return Effect.delay(this.runTransaction(lane, jobs, items, retries - 1), pause)
    }
    if (trouble === "unavailable") {
      for (const job of jobs) this.settle(job, { _tag: "Released", delayMillis: givenBackMillis })
      return Effect.void
    }
    if (jobs.length > 1) {
      lane.group = Math.max(1, Math.floor(lane.group / 4))
      this.ledger.again(lane, jobs)
      return Effect.void
    }
    if (cause.reasons.some((reason) => Cause.isFailReason(reason) && reason.error instanceof JobLeaseLost)) {
      this.tally.lost++
      return Effect.logWarning(`jobs: lease lost, rolled back: ${jobs[0]?.kind} ${jobs[0]?.id}`)
    }
    return this.fails(lane, jobs, cause)
  }

  private succeeded(lane: Lane<R>, value: unknown): Verdict {
    const encoded = lane.handler.encodeSuccess(value)
    return Result.isSuccess(encoded)
      ? { _tag: "Succeeded", result: encoded.success, history: lane.handler.kind.history }
      : { _tag: "Dead", failure: { reason: "Defect", message: `Result does not fit its schema: ${encoded.failure}` } }
  }

  /** What becomes of the jobs of an interrupted unit. */
  private interrupted(unit: Unit<R>, cause: Cause.Cause<unknown>): Effect.Effect<void> {
    const { jobs, lane } = unit
    switch (unit.stop) {
      case "timeout":
        if (jobs.length > 1) {
          lane.group = Math.max(1, Math.floor(lane.group / 4))
          return Effect.sync(() => this.ledger.again(lane, jobs))
        }
        return Effect.forEach(jobs, (job) =>
          Effect.map(JobVerdict.failed(lane.handler, job, JobVerdict.timedOut(lane.handler)), (verdict) =>
            this.settle(job, verdict)), { discard: true })
      case "cancel":
        return Effect.sync(() => {
          for (const job of jobs) {
            if (this.cancelled.delete(job.id)) this.settle(job, { _tag: "Cancelled" })
            else this.ledger.again(lane, [job])
          }
        })
      case "lost":
        return Effect.void
      case "drain":
        return Effect.sync(() => {
          for (const job of jobs) this.settle(job, { _tag: "Released", delayMillis: 0 })
        })
      default:
        // It interrupted itself: that is its failure.
        return this.fails(lane, jobs, Cause.die(cause))
    }
  }

  // ---------------------------------------------------------------- settling

  private settle(job: ClaimedJob, verdict: Verdict): void {
    this.ledger.settlements.push({ job, verdict })
    this.flushed.closeUnsafe()
    this.work.openUnsafe()
  }

  private get settler(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      while (true) {
        yield* this.work.await
        const batch = this.ledger.settlements.splice(0, maxSettle)
        if (batch.length === 0) {
          this.work.closeUnsafe()
          this.flushed.openUnsafe()
          continue
        }
        this.settling = batch.length
        yield* this.write(batch)
        this.settling = 0
        this.tally.settled += batch.length
        const reopened = batch.some(({ job, verdict }) =>
          job.key !== null || ((verdict._tag === "Retry" || verdict._tag === "Released") && verdict.delayMillis === 0)
        )
        if (reopened) this.nudge()
        if (!this.exhausted || this.idlers.length > 0) this.want.openUnsafe()
      }
    })
  }

  /** Writes until it is written, or until the lease is lost with the session. */
  private write(batch: ReadonlyArray<Settlement>): Effect.Effect<void> {
    return Effect.matchEffect(this.store.settle(this.member.worker, batch), {
      onSuccess: (lost) => {
        this.tally.lost += lost
        return lost === 0
          ? Effect.void
          : Effect.logWarning(`jobs: ${lost} of ${batch.length} settle(s) refused: their lease was lost`)
      },
      onFailure: (error) => this.writeAgain(batch, error)
    })
  }

  private writeAgain(batch: ReadonlyArray<Settlement>, error: JobQueueError): Effect.Effect<void> {
    if (error.reason !== "Rejected") {
      return Effect.logWarning("jobs: settle failed, trying again", error).pipe(
        Effect.andThen(Effect.delay(this.write(batch), 200))
      )
    }
    const [first] = batch
    if (batch.length > 1 || first === undefined) return Effect.forEach(batch, (one) => this.write([one]), { discard: true })
    // One that the store cannot take, such as a result it cannot hold: the job is dead rather than stuck.
    const failure = { reason: "Defect", message: "Its outcome could not be stored" } as const
    return first.verdict._tag === "Dead"
      ? Effect.logError(`jobs: cannot settle ${first.job.kind} ${first.job.id}`, error)
      : Effect.andThen(
        Effect.logError(`jobs: cannot store the outcome of ${first.job.kind} ${first.job.id}`, error),
        this.write([{ job: first.job, verdict: { _tag: "Dead", failure } }])
      )
  }

  // ------------------------------------------------- liveness, time, signals

  private readonly cancelled = new Set<string>()

  private nudge(): void {
    this.exhausted = false
    this.wake.openUnsafe()
    this.want.openUnsafe()
  }

  private get listen(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      while (true) {
        const signal = yield* Queue.take(this.member.signals)
        if (signal._tag === "Wake") this.nudge()
        else yield* this.cancel(signal.id)
      }
    })
  }

  private cancel(id: string): Effect.Effect<void> {
    return Effect.suspend(() => {
      const waiting = this.ledger.remove(id)
      if (waiting !== undefined) {
        this.settle(waiting, { _tag: "Cancelled" })
        return Effect.void
      }
      return this.stop((unit) => unit.jobs.some((job) => job.id === id), "cancel", () => this.cancelled.add(id))
    })
  }

  /** Interrupts the units that match, without waiting for them. */
  private stop(
    matches: (unit: Unit<R>) => boolean,
    why: NonNullable<Unit<R>["stop"]>,
    before?: () => void
  ): Effect.Effect<void> {
    return Effect.suspend(() => {
      const hit = [...this.slots].filter((slot) =>
        slot.unit !== undefined && slot.unit.stop === undefined && slot.task !== undefined && matches(slot.unit)
      )
      if (hit.length > 0) before?.()
      return Effect.forEach(hit, (slot) => {
        if (slot.unit !== undefined) slot.unit.stop = why
        return slot.task === undefined ? Effect.void : Effect.forkChild(slot.task.cancel)
      }, { discard: true })
    })
  }

  private get reaper(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      while (true) {
        yield* Effect.sleep(100)
        const now = yield* Clock.currentTimeMillis
        yield* this.stop((unit) => unit.startedAtMillis > 0 && unit.deadlineMillis <= now, "timeout")
      }
    })
  }

  private get heartbeat(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      while (true) {
        const beat = yield* Effect.exit(this.member.beat)
        let pause = this.options.beatMillis
        if (Exit.isFailure(beat)) yield* Effect.logWarning("jobs: heartbeat failed", beat.cause)
        else {
          if (!beat.value.alive) {
            yield* Effect.logWarning(`jobs: worker ${this.member.worker} was declared dead: joining anew`)
            yield* this.stop(() => true, "lost")
            yield* Deferred.succeed(this.ended, "lost")
            return
          }
          if (beat.value.recovered > 0) {
            yield* Effect.logWarning(
              `jobs: ${beat.value.deadWorkers} dead worker(s), ${beat.value.recovered} job(s) recovered`
            )
          }
          for (const id of beat.value.cancelled) yield* this.cancel(id)
          this.nextDueMillis = beat.value.nextDueMillis
          pause = Math.max(5, Math.min(pause, (this.nextDueMillis ?? pause) + 1))
          if (this.options.crons.length > 0 && !this.tally.draining) {
            yield* Effect.catch(this.store.tick(this.options.crons), (error) => Effect.logWarning("jobs: cron failed", error))
          }
        }
        yield* Effect.sleep(pause)
      }
    })
  }

  // ----------------------------------------------------------- idle and drain

  private get isQuiet(): boolean {
    return this.exhausted && this.slots.size === 0 && this.ledger.waiting === 0 &&
      this.ledger.settlements.length === 0 && this.settling === 0
  }

  private answerIdlers(): void {
    if (!this.isQuiet) return
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
      for (const job of this.ledger.clear()) this.settle(job, { _tag: "Released", delayMillis: 0 })
      const slotsEnd = Effect.repeat(Effect.sleep(10), { until: () => this.slots.size === 0 && !this.claiming })
      yield* Effect.timeoutOption(slotsEnd, this.options.drainGraceMillis)
      yield* this.stop(() => true, "drain")
      yield* Effect.timeoutOption(slotsEnd, this.options.drainGraceMillis)
      for (const job of this.ledger.clear()) this.settle(job, { _tag: "Released", delayMillis: 0 })
      yield* Effect.timeoutOption(this.flushed.await, this.options.leaseMillis)
      yield* Deferred.succeed(this.ended, "drained")
    })
  }
}

const attemptOf = (job: ClaimedJob): Attempt => ({
  id: job.id,
  kind: job.kind,
  attempt: job.attempt,
  maxAttempts: job.maxAttempts,
  enqueuedAt: job.enqueuedAt
})

const describe = <R>(unit: Unit<R> | undefined): string =>
  unit === undefined
    ? "slot"
    : unit.jobs.length === 1
    ? `${unit.lane.handler.kind.name} ${unit.jobs[0]?.id}`
    : `${unit.lane.handler.kind.name} x ${unit.jobs.length}`
