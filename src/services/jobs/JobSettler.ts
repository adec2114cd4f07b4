import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type { JobId } from "./Job.ts"
import type { JobQueueError } from "./JobError.ts"
import type { Session } from "./JobSession.ts"
import type { ClaimedJob, Settlement, Verdict } from "./JobStore.ts"

/** Settlements written in one statement. */
const maxSettle = 2_000

/** Group commit of verdicts: what comes while a batch is being written goes into the next one. */
export class JobSettler {
  private readonly buffer: Array<Settlement> = []
  private readonly work = Latch.makeUnsafe(false)
  private readonly flushed = Latch.makeUnsafe(true)
  private writing: ReadonlyArray<Settlement> = []
  private readonly session: Session

  constructor(session: Session) {
    this.session = session
  }

  /** Verdicts that are not in the store yet. */
  get size(): number {
    return this.buffer.length + this.writing.length
  }

  /** The jobs of these verdicts. */
  get ids(): ReadonlyArray<JobId> {
    return [...this.buffer, ...this.writing].map(({ job }) => job.id)
  }

  /** Waits until nothing is left to write. */
  get awaitFlushed(): Effect.Effect<void> {
    return this.flushed.await
  }

  /** Takes a verdict; it is written with others, soon. */
  settle(job: ClaimedJob, verdict: Verdict): void {
    this.buffer.push({ job, verdict })
    this.flushed.closeUnsafe()
    this.work.openUnsafe()
  }

  /** Writes what is taken, in batches, for ever. */
  get run(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      while (true) {
        yield* this.work.await
        const batch = this.buffer.splice(0, maxSettle)
        if (batch.length === 0) {
          this.work.closeUnsafe()
          this.flushed.openUnsafe()
          continue
        }
        this.writing = batch
        yield* this.write(batch)
        this.writing = []
        this.session.tally.settled += batch.length
        const reopened = batch.some(({ job, verdict }) =>
          job.key !== null || ((verdict._tag === "Retry" || verdict._tag === "Released") && verdict.delayMillis === 0)
        )
        if (reopened) this.session.onReady()
        this.session.onRoom()
      }
    })
  }

  /** Writes until it is written, or until the lease is lost with the session. */
  private write(batch: ReadonlyArray<Settlement>): Effect.Effect<void> {
    return Effect.matchEffect(this.session.store.settle(this.session.worker, batch), {
      onSuccess: (lost) => {
        this.session.tally.lost += lost
        return lost === 0
          ? Effect.void
          : Effect.logWarning(`jobs: ${lost} of ${batch.length} settle(s) refused: their lease was lost`)
      },
      onFailure: (error) => this.writeAgain(batch, error)
    })
  }

  private writeAgain(batch: ReadonlyArray<Settlement>, error: JobQueueError): Effect.Effect<void> {
    if (error.reason !== "Rejected") {
      return this.session.outage.failed("settling", error).pipe(
        Effect.andThen(Effect.delay(this.write(batch), 200))
      )
    }
    const [first] = batch
    if (batch.length > 1 || first === undefined) {
      return Effect.forEach(batch, (one) => this.write([one]), { discard: true })
    }
    // One that the store cannot take, such as a result it cannot hold: the job is dead rather than stuck.
    const failure = { reason: "Defect", message: "Its outcome could not be stored" } as const
    return first.verdict._tag === "Dead"
      ? Effect.logError(`jobs: cannot settle ${first.job.kind} ${first.job.id}`, error)
      : Effect.andThen(
        Effect.logError(`jobs: cannot store the outcome of ${first.job.kind} ${first.job.id}`, error),
        this.write([{ job: first.job, verdict: { _tag: "Dead", failure } }])
      )
  }
}
