import { Cause, Clock, Effect, Exit, Result } from "effect"
import type { Attempt, JobId } from "../../../services/jobs/Job.ts"
import { JobDiscard, JobLeaseLost } from "../../../services/jobs/JobError.ts"
import type { BatchItem } from "../../../services/jobs/JobHandler.ts"
import type { ClaimedJob, Settlement, Verdict } from "../../../services/jobs/JobStore.ts"
import * as JobVerdict from "../../../services/jobs/JobVerdict.ts"
import type * as TaskGroup from "../../../services/tasks/TaskGroup.ts"
import { goAlone, grow, type JobLedger, type Lane, shrink, type Unit } from "./Backlog.ts"
import type { JobSettler } from "./Settler.ts"
import type { Session } from "./WorkerTypes.ts"

/** A transaction that lost a deadlock is run again so often before it counts as an attempt. */
const conflictRetries = 5
/** A job whose attempt the database cut short waits so long. */
const givenBackMillis = 500

/** A group waits no longer for a lock: groups lock in no common order, and the server finds a deadlock only after a second. */
const groupLockMillis = 100

interface Slot<R> {
  unit: Unit<R> | undefined
  task: TaskGroup.Task<void> | undefined
}

/** Runs what was claimed: slots that take unit after unit from the ledger, and hand verdicts to the settler. */
export class JobRunner<R> {
  private readonly slots = new Set<Slot<R>>()
  private readonly cancelled = new Set<string>()
  /** Slots that hold a transaction. */
  transacting = 0
  private readonly session: Session
  private readonly ledger: JobLedger<R>
  private readonly settler: JobSettler

  constructor(session: Session, ledger: JobLedger<R>, settler: JobSettler) {
    this.session = session
    this.ledger = ledger
    this.settler = settler
  }

  get busy(): number {
    return this.slots.size
  }

  /** The jobs that are being run. */
  get ids(): ReadonlyArray<JobId> {
    return [...this.slots].flatMap(({ unit }) => unit === undefined ? [] : unit.jobs.map((job) => job.id))
  }

  /** Opens slots while there is work for them. */
  dispatch(): Effect.Effect<void, never, R> {
    return Effect.suspend(() => {
      const opened: Array<Slot<R>> = []
      while (this.slots.size < this.session.options.concurrency && this.ledger.waiting > 0) {
        const unit = this.ledger.take(this.transacting < this.session.options.transactions)
        if (unit === undefined) break
        const slot: Slot<R> = { unit, task: undefined }
        this.begin(slot, unit)
        this.slots.add(slot)
        opened.push(slot)
      }
      return opened.length === 0 ? Effect.void : Effect.forEach(opened, (slot) =>
        Effect.matchEffect(
          this.session.group.spawn(this.runSlot(slot), { name: () => describe(slot.unit) }),
          {
            onSuccess: (task) => Effect.sync(() => void (slot.task = task)),
            // Only a group that is being cancelled takes no tasks, and its jobs are no longer ours.
            onFailure: () =>
              Effect.sync(() => {
                this.slots.delete(slot)
                if (slot.unit !== undefined) this.finish(slot.unit)
              })
          }
        ), { discard: true })
    })
  }

  private begin(slot: Slot<R>, unit: Unit<R>): void {
    slot.unit = unit
    this.session.tally.running += unit.jobs.length
    this.session.tally.buffered = this.ledger.waiting
    if (unit.lane.handler.mode !== "plain") this.transacting++
  }

  private finish(unit: Unit<R>): void {
    this.session.tally.running -= unit.jobs.length
    if (unit.lane.handler.mode !== "plain") this.transacting--
    this.session.onRoom()
  }

  /** Runs unit after unit in one fiber; an interruption ends the slot, and another takes its place. */
  private runSlot(slot: Slot<R>): Effect.Effect<void, never, R> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.gen({ self: this }, function*() {
        while (true) {
          const unit = slot.unit
          if (unit === undefined) break
          unit.startedAtMillis = yield* elapsedMillis
          unit.deadlineMillis += unit.startedAtMillis
          // Suspended: a handler that throws instead of failing throws here.
          const exit = yield* Effect.exit(restore(Effect.suspend(() => this.runUnit(unit))))
          this.finish(unit)
          slot.unit = undefined
          if (Exit.isFailure(exit)) yield* this.interrupted(unit, exit.cause)
          // An interruption that came too late for its unit must not hit the next one.
          if (Exit.isFailure(exit) || unit.stop !== undefined) break
          const next = this.ledger.take(this.transacting < this.session.options.transactions)
          if (next !== undefined) this.begin(slot, next)
        }
        this.slots.delete(slot)
        this.session.onRoom()
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
        const failure = { reason: "PayloadInvalid", message: JobVerdict.clean(decoded.failure) } as const
        this.settler.settle(job, { _tag: "Dead", failure })
      }
    }
    if (jobs.length === 0) return Effect.void
    return unit.lane.handler.mode === "plain"
      ? this.runPlain(unit.lane, jobs, items)
      : this.runTransaction(unit.lane, jobs, items, conflictRetries)
  }

  private runPlain(lane: Lane<R>, jobs: ReadonlyArray<ClaimedJob>, items: ReadonlyArray<BatchItem<unknown>>) {
    return Effect.matchCauseEffect(Effect.suspend(() => lane.handler.run(items)), {
      onSuccess: (values) => {
        for (const [index, job] of jobs.entries()) this.settler.settle(job, this.succeeded(lane, values?.[index]))
        return Effect.void
      },
      onFailure: (cause) =>
        Cause.hasInterruptsOnly(cause) ? Effect.failCause(cause as Cause.Cause<never>) : this.fails(lane, jobs, cause)
    })
  }

  private fails(lane: Lane<R>, jobs: ReadonlyArray<ClaimedJob>, cause: Cause.Cause<unknown>): Effect.Effect<void> {
    return Effect.forEach(
      jobs,
      (job) => Effect.map(JobVerdict.ofCause(lane.handler, job, cause), (verdict) => this.settler.settle(job, verdict)),
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
    const isGroup = jobs.length > 1 && lane.handler.mode === "transactional"
    const { settlesFirst } = lane.handler
    const run = Effect.suspend(() => lane.handler.run(items))
    const transaction = this.session.store.transact(
      settlesFirst
        ? Effect.andThen(this.settleAll(lane, jobs, undefined), run)
        : Effect.flatMap(run, (values) => this.settleAll(lane, jobs, values)),
      { idle: this.session.options.leaseMillis, lock: isGroup ? groupLockMillis : 0 }
    )
    return Effect.matchCauseEffect(transaction, {
      onSuccess: (): Effect.Effect<void, never, R> => {
        this.session.tally.settled += jobs.length
        // What waited behind these keys is ready now.
        if (jobs.some((job) => job.key !== null)) this.session.onReady()
        return Effect.map(Clock.currentTimeMillis, (now) => grow(lane, now))
      },
      onFailure: (cause) => {
        if (Cause.hasInterruptsOnly(cause)) return Effect.failCause(cause as Cause.Cause<never>)
        return this.transactionFailed(lane, jobs, items, cause, retries)
      }
    })
  }

  /** The fenced settle of jobs that succeeded. */
  private settleAll(
    lane: Lane<R>,
    jobs: ReadonlyArray<ClaimedJob>,
    values: ReadonlyArray<unknown> | void
  ): Effect.Effect<void, unknown> {
    const settlements: Array<Settlement> = []
    for (const [index, job] of jobs.entries()) {
      const verdict = this.succeeded(lane, values?.[index])
      // A result that cannot be encoded is the job's failure, so nothing of it may be committed.
      if (verdict._tag === "Dead") return Effect.fail(new JobDiscard({ detail: verdict.failure.message }))
      settlements.push({ job, verdict })
    }
    return this.session.store.settleAll(this.session.worker, settlements)
  }

  private transactionFailed(
    lane: Lane<R>,
    jobs: ReadonlyArray<ClaimedJob>,
    items: ReadonlyArray<BatchItem<unknown>>,
    cause: Cause.Cause<unknown>,
    retries: number
  ): Effect.Effect<void, never, R> {
    const trouble = JobVerdict.troubleOf(cause)
    if (trouble === "conflict" && jobs.length > 1 && lane.handler.mode === "transactional") {
      return Effect.map(Clock.currentTimeMillis, (now) => {
        goAlone(lane, now)
        this.ledger.again(lane, jobs)
      })
    }
    if (trouble === "conflict" && retries > 0) {
      const pause = 5 + ((Number(jobs[0]?.id ?? 0) * 7 + retries * 13) % 30)
      return Effect.delay(this.runTransaction(lane, jobs, items, retries - 1), pause)
    }
    if (trouble === "unavailable") {
      for (const job of jobs) this.settler.settle(job, { _tag: "Released", delayMillis: givenBackMillis })
      return Effect.void
    }
    if (jobs.length > 1) {
      shrink(lane)
      this.ledger.again(lane, jobs)
      return Effect.void
    }
    if (cause.reasons.some((reason) => Cause.isFailReason(reason) && reason.error instanceof JobLeaseLost)) {
      this.session.tally.lost++
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
          shrink(lane)
          return Effect.sync(() => this.ledger.again(lane, jobs))
        }
        return Effect.forEach(
          jobs,
          (job) =>
            Effect.map(
              JobVerdict.failed(lane.handler, job, JobVerdict.timedOut(lane.handler)),
              (verdict) => this.settler.settle(job, verdict)
            ),
          { discard: true }
        )
      case "cancel":
        return Effect.sync(() => {
          for (const job of jobs) {
            if (this.cancelled.delete(job.id)) this.settler.settle(job, { _tag: "Cancelled" })
            else this.ledger.again(lane, [job])
          }
        })
      case "lost":
        return Effect.void
      case "drain":
        return Effect.sync(() => {
          for (const job of jobs) this.settler.settle(job, { _tag: "Released", delayMillis: 0 })
        })
      default:
        // It interrupted itself: that is its failure.
        return this.fails(lane, jobs, Cause.die(cause))
    }
  }

  /** Cancels a job that waits here or runs here. */
  cancel(id: string): Effect.Effect<void> {
    return Effect.suspend(() => {
      const waiting = this.ledger.remove(id)
      if (waiting !== undefined) {
        this.settler.settle(waiting, { _tag: "Cancelled" })
        return Effect.void
      }
      return this.stop((unit) => unit.jobs.some((job) => job.id === id), "cancel", () => this.cancelled.add(id))
    })
  }

  /** Interrupts the units that match, without waiting for them. */
  stop(
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

  /** The session has ended: the jobs are no longer ours, whatever their interruption looks like. */
  abandon(): void {
    for (const { unit } of this.slots) if (unit !== undefined) unit.stop = "lost"
  }

  /** Interrupts what runs longer than its kind allows. */
  get reaper(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      while (true) {
        yield* Effect.sleep(100)
        const now = yield* elapsedMillis
        yield* this.stop((unit) => unit.startedAtMillis !== undefined && unit.deadlineMillis <= now, "timeout")
      }
    })
  }
}

/** A clock that nobody sets: a correction of the time must not time out what runs. */
const elapsedMillis = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos / 1_000_000n))

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
