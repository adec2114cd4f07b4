import { Cause, Effect, Result } from "effect"
import * as FailureText from "../../../services/jobs/FailureText.ts"
import * as Foreign from "../../../services/jobs/Foreign.ts"
import type { Attempt } from "../../../services/jobs/Job.ts"
import type { BatchItem } from "../../../services/jobs/JobHandler.ts"
import type { ClaimedJob, Verdict } from "../../../services/jobs/JobStore.ts"
import * as JobVerdict from "../../../services/jobs/JobVerdict.ts"
import type { Backlog, Unit } from "./Backlog.ts"
import type { FailureLog } from "./FailureLog.ts"
import type { Settler } from "./Settler.ts"
import type { Tally } from "./Tally.ts"
import type { TransactionEnd, Transactions, Work } from "./Transactions.ts"

/** A job whose attempt the database cut short waits so long. */
const unavailableMillis = 500

/** What attempts are made with. */
export interface AttemptParts<R> {
  readonly tally: Tally
  readonly backlog: Backlog<R>
  readonly transactions: Transactions
  readonly settler: Settler
  readonly failureLog: FailureLog
  /** A transaction made jobs ready. */
  readonly onReady: () => void
}

/** Runs one unit: each of its jobs gets a verdict, goes back to the backlog, or was settled in its transaction. */
export class Attempts<R> {
  private readonly parts: AttemptParts<R>

  constructor(parts: AttemptParts<R>) {
    this.parts = parts
  }

  /** Runs the handler with the jobs of a unit and hands their verdicts to the settler; an interruption passes through. */
  run(unit: Unit<R>): Effect.Effect<void, never, R> {
    const { lane } = unit
    const items: Array<BatchItem<unknown>> = []
    const jobs: Array<ClaimedJob> = []
    const refused: Array<Effect.Effect<void>> = []
    for (const job of unit.jobs) {
      const decoded = lane.handler.decode(job.payload)
      if (Result.isSuccess(decoded)) {
        items.push({ payload: decoded.success, attempt: attemptOf(job) })
        jobs.push(job)
      } else {
        const failure = { reason: "PayloadInvalid", message: FailureText.clean(decoded.failure) } as const
        refused.push(this.settle(job, { _tag: "Dead", failure }))
      }
    }
    const handled = jobs.length === 0 ? Effect.void : this.handle({ lane, jobs, items })
    return refused.length === 0 ? handled : Effect.andThen(Effect.all(refused, { discard: true }), handled)
  }

  private handle(work: Work<R>): Effect.Effect<void, never, R> {
    return work.lane.handler.mode === "plain"
      ? this.plain(work)
      : Effect.flatMap(this.parts.transactions.run(work), (end) => this.ended(work, end))
  }

  /** Hands a verdict to the settler, and tells of one that is a failure. */
  private settle(job: ClaimedJob, verdict: Verdict): Effect.Effect<void> {
    const { failureLog, settler } = this.parts
    settler.settle(job, verdict)
    return verdict._tag === "Retry" || verdict._tag === "Dead" ? failureLog.failed(job, verdict) : Effect.void
  }

  /** The handler of one job. */
  private plain({ items, jobs, lane }: Work<R>): Effect.Effect<void, never, R> {
    return Effect.matchCauseEffect(lane.handler.run(items), {
      onSuccess: (values) => {
        const [job] = jobs
        return job === undefined ? Effect.void : this.settle(job, JobVerdict.succeeded(lane.handler, values?.[0]))
      },
      onFailure: (cause) =>
        Cause.hasInterruptsOnly(cause)
          ? Effect.failCause(cause as Cause.Cause<never>)
          : this.failed({ jobs, lane }, cause)
    })
  }

  /** What becomes of the jobs of a transaction. */
  private ended(work: Work<R>, end: TransactionEnd): Effect.Effect<void> {
    const { backlog, onReady, settler, tally } = this.parts
    const { jobs, lane } = work
    switch (end._tag) {
      case "Committed":
        tally.settled += jobs.length
        // What waited behind these keys is ready now.
        if (jobs.some((job) => job.key !== null)) onReady()
        return Effect.void
      case "Apart":
        backlog.addApart(lane, jobs)
        return Effect.void
      case "Unavailable":
        for (const job of jobs) settler.settle(job, { _tag: "Released", delayMillis: unavailableMillis })
        return Effect.void
      case "LeaseLost":
        tally.lost++
        return Effect.logWarning(`jobs: lease lost, rolled back: ${jobs[0]?.kind} ${jobs[0]?.id}`)
      default:
        return this.failed(work, end.cause)
    }
  }

  private failed({ jobs, lane }: Pick<Work<R>, "jobs" | "lane">, cause: Cause.Cause<unknown>): Effect.Effect<void> {
    return this.settleEach(jobs, (job) => JobVerdict.ofCause(lane.handler, job, cause))
  }

  private settleEach(
    jobs: ReadonlyArray<ClaimedJob>,
    verdictOf: (job: ClaimedJob) => Effect.Effect<Verdict>
  ): Effect.Effect<void> {
    return Effect.forEach(
      jobs,
      (job) => Effect.flatMap(verdictOf(job), (verdict) => this.settle(job, verdict)),
      { discard: true }
    )
  }

  /** What becomes of the jobs of a unit that was interrupted, or whose fiber ended under it. */
  broken(unit: Unit<R>, cause: Cause.Cause<unknown>): Effect.Effect<void> {
    const { backlog, settler } = this.parts
    const { jobs, lane } = unit
    switch (unit.stop?._tag) {
      case "TimedOut":
        if (jobs.length === 1) {
          return this.settleEach(
            jobs,
            (job) => JobVerdict.failed(lane.handler, job, JobVerdict.timedOut(lane.handler))
          )
        }
        lane.shrink()
        backlog.addApart(lane, jobs)
        return Effect.void
      case "Cancelled":
        for (const job of jobs) {
          if (job.id === unit.stop.id) settler.settle(job, { _tag: "Cancelled" })
          else backlog.addApart(lane, [job])
        }
        return Effect.void
      case "Lost":
        return Effect.void
      case "Drained":
        for (const job of jobs) settler.settle(job, { _tag: "Released", delayMillis: 0 })
        return Effect.void
      default:
        return this.failed(unit, Cause.hasInterruptsOnly(cause) ? Cause.die(Foreign.selfInterrupted()) : cause)
    }
  }
}

const attemptOf = (job: ClaimedJob): Attempt => ({
  id: job.id,
  kind: job.kind,
  attempt: job.attempt,
  maxAttempts: job.maxAttempts,
  enqueuedAt: job.enqueuedAt
})
