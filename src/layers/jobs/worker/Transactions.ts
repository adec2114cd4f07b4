import { Cause, Clock, Effect } from "effect"
import { JobDiscard, JobLeaseLost } from "../../../services/jobs/JobError.ts"
import type { BatchItem } from "../../../services/jobs/JobHandler.ts"
import type { ClaimedJob, JobStore, Settlement } from "../../../services/jobs/JobStore.ts"
import * as JobVerdict from "../../../services/jobs/JobVerdict.ts"
import type { KindLane } from "./KindLane.ts"

/** A transaction that lost a deadlock is run again so often before it counts as an attempt. */
const conflictRetries = 5

/** A group waits no longer for a lock: groups lock in no common order, and the server finds a deadlock only after a second. */
const groupLockMillis = 100

/** Jobs of one lane whose payloads were decoded. */
export interface Work<R> {
  readonly lane: KindLane<R>
  readonly jobs: ReadonlyArray<ClaimedJob>
  readonly items: ReadonlyArray<BatchItem<unknown>>
}

/** How the transaction of some jobs ended. All but Committed were rolled back. */
export type TransactionEnd =
  | { readonly _tag: "Committed" }
  /** A group failed: each of its jobs is to have a transaction of its own. */
  | { readonly _tag: "Apart" }
  /** The database was not there: no attempt is spent. */
  | { readonly _tag: "Unavailable" }
  /** The job belongs to another worker now. */
  | { readonly _tag: "LeaseLost" }
  /** The attempt failed. */
  | { readonly _tag: "Failed"; readonly cause: Cause.Cause<unknown> }

/** What transactions are run with. */
export interface TransactionParts {
  readonly store: JobStore["Service"]
  readonly worker: number
  /** A transaction whose handler pauses between statements for longer is ended by the store. */
  readonly leaseMillis: number
}

/** Runs handlers and the fenced settle of their jobs in one transaction, so that both happen or neither. */
export class Transactions {
  private readonly parts: TransactionParts

  constructor(parts: TransactionParts) {
    this.parts = parts
  }

  /** Runs a handler; an interruption passes through. */
  run<R>(work: Work<R>): Effect.Effect<TransactionEnd, never, R> {
    return this.attempt(work, conflictRetries)
  }

  private attempt<R>(work: Work<R>, retries: number): Effect.Effect<TransactionEnd, never, R> {
    const { items, jobs, lane } = work
    const isGroup = jobs.length > 1 && lane.handler.mode === "transactional"
    const handled = Effect.suspend(() => lane.handler.run(items))
    const transaction = this.parts.store.transact(
      lane.handler.settlesFirst
        ? Effect.andThen(this.settle(work, undefined), handled)
        : Effect.flatMap(handled, (values) => this.settle(work, values)),
      { idle: this.parts.leaseMillis, lock: isGroup ? groupLockMillis : 0 }
    )
    return Effect.matchCauseEffect(transaction, {
      onSuccess: (): Effect.Effect<TransactionEnd, never, R> =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          lane.grow(now)
          return { _tag: "Committed" }
        }),
      onFailure: (cause) =>
        Cause.hasInterruptsOnly(cause)
          ? Effect.failCause(cause as Cause.Cause<never>)
          : this.failed(work, cause, retries)
    })
  }

  /** The fenced settle of jobs that succeeded with these values. */
  private settle<R>({ jobs, lane }: Work<R>, values: ReadonlyArray<unknown> | void): Effect.Effect<void, unknown> {
    const settlements: Array<Settlement> = []
    for (const [index, job] of jobs.entries()) {
      const verdict = JobVerdict.succeeded(lane.handler, values?.[index])
      // A result that cannot be encoded is the job's failure, so nothing of it may be committed.
      if (verdict._tag === "Dead") return Effect.fail(new JobDiscard({ detail: verdict.failure.message }))
      settlements.push({ job, verdict })
    }
    return this.parts.store.settleAll(this.parts.worker, settlements)
  }

  private failed<R>(
    work: Work<R>,
    cause: Cause.Cause<unknown>,
    retries: number
  ): Effect.Effect<TransactionEnd, never, R> {
    const { jobs, lane } = work
    const trouble = JobVerdict.troubleOf(cause)
    if (trouble === "conflict" && jobs.length > 1 && lane.handler.mode === "transactional") {
      return Effect.map(Clock.currentTimeMillis, (now) => {
        lane.goAlone(now)
        return { _tag: "Apart" }
      })
    }
    if (trouble === "conflict" && retries > 0) {
      const pause = 5 + ((Number(jobs[0]?.id ?? 0) * 7 + retries * 13) % 30)
      return Effect.delay(this.attempt(work, retries - 1), pause)
    }
    if (trouble === "unavailable") return Effect.succeed({ _tag: "Unavailable" })
    if (jobs.length > 1) {
      lane.shrink()
      return Effect.succeed({ _tag: "Apart" })
    }
    const isLost = cause.reasons.some((reason) => Cause.isFailReason(reason) && reason.error instanceof JobLeaseLost)
    return Effect.succeed(isLost ? { _tag: "LeaseLost" } : { _tag: "Failed", cause })
  }
}
