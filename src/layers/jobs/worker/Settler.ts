import { Effect, Latch } from "effect"
import type { JobId } from "../../../services/jobs/Job.ts"
import type { JobQueueError } from "../../../services/jobs/JobError.ts"
import type { ClaimedJob, JobStore, Settlement, Verdict } from "../../../services/jobs/JobStore.ts"
import type { Outage } from "../../../services/postgres/Outage.ts"
import type { Tally } from "./Tally.ts"

/** What a settler works with. */
export interface SettlerParts {
  readonly store: JobStore["Service"]
  readonly worker: number
  readonly tally: Tally
  readonly outage: Outage
  /** Settlements were written: there is room for more jobs. */
  readonly onFreed: () => void
  /** One of them made a job ready. */
  readonly onReady: () => void
}

/** Settlements written in one statement. */
const maxSettle = 2_000
/** What was refused is written again after so long, then after twice as long each time, up to the last. */
const pauseFirstMillis = 200
const pauseMaxMillis = 5_000
/** After so many refusals in a row, one by one, the fault is not in the settlements: the rest is tried again later. */
const maxRefused = 3

/**
 * Group commit of verdicts: those that come while a batch is being written go into the next one. A verdict that was
 * taken is written, however long that takes. Only a verdict that can never be stored (with a result that the database
 * cannot hold, say) is replaced: its job ends as dead.
 */
export class Settler {
  /** Taken and not written: how many. A set of them would cost each job more than its settlement. */
  private open = 0
  private readonly buffer: Array<Settlement> = []
  /** Taken out of the buffer: what is being written, or follows one by one. */
  private batch: Array<Settlement> = []
  /** Settlements that were refused one by one: they are written one by one from now on, so that they hold up no others. */
  private readonly stuck: Array<Settlement> = []
  private readonly work = Latch.makeUnsafe(false)
  private readonly trouble = Latch.makeUnsafe(false)
  private readonly flushed = Latch.makeUnsafe(true)
  private readonly parts: SettlerParts

  constructor(parts: SettlerParts) {
    this.parts = parts
  }

  /** Verdicts that are not in the store yet. */
  get size(): number {
    return this.open
  }

  /** The jobs of these verdicts. */
  get ids(): ReadonlyArray<JobId> {
    return [...this.buffer, ...this.batch, ...this.stuck].map(({ job }) => job.id)
  }

  /** Waits until nothing is left to write. */
  get awaitFlushed(): Effect.Effect<void> {
    return this.flushed.await
  }

  /** Takes a verdict; it is written with others, soon. */
  settle(job: ClaimedJob, verdict: Verdict): void {
    this.open++
    this.buffer.push({ job, verdict })
    this.flushed.closeUnsafe()
    this.work.openUnsafe()
  }

  /** Writes what was taken, for ever. */
  get run(): Effect.Effect<void> {
    return Effect.all([this.writeBatches, this.writeStuck], { concurrency: 2, discard: true })
  }

  private get writeBatches(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      let pause = pauseFirstMillis
      while (true) {
        yield* this.work.await
        this.batch = this.buffer.splice(0, maxSettle)
        if (this.batch.length === 0) {
          this.work.closeUnsafe()
          continue
        }
        yield* this.writeBatch
        if (this.batch.length === 0) pause = pauseFirstMillis
        else {
          this.buffer.unshift(...this.batch.splice(0))
          yield* Effect.sleep(pause)
          pause = Math.min(pauseMaxMillis, pause * 2)
        }
      }
    })
  }

  /** Writes the batch, one by one when it is refused; what is left in it is to be written with the next one. */
  private get writeBatch(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      const error = yield* this.write(this.batch)
      if (error === undefined) {
        this.batch = []
        return
      }
      yield* this.parts.outage.failed("settling", error)
      if (error.reason === "Unavailable") return
      for (let refused = 0; refused < maxRefused;) {
        const [one] = this.batch
        if (one === undefined) return
        refused = (yield* this.writeAlone(one)) ? 0 : refused + 1
        this.batch.shift()
      }
    })
  }

  private writeAlone(one: Settlement): Effect.Effect<boolean> {
    return Effect.flatMap(this.write([one]), (error) => {
      if (error === undefined) return Effect.succeed(true)
      const { id, kind } = one.job
      if (error.isData && one.verdict._tag !== "Dead") {
        return Effect.andThen(
          Effect.logError(`jobs: the outcome of ${kind} ${id} cannot be stored`, error),
          this.writeAlone(deadOf(one.job, `Its outcome could not be stored: ${error.detail}`))
        )
      }
      this.stuck.push(one)
      this.trouble.openUnsafe()
      return Effect.as(Effect.logWarning(`jobs: cannot settle ${kind} ${id} now: trying again`, error), false)
    })
  }

  private get writeStuck(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      let pause = pauseFirstMillis
      while (true) {
        yield* this.trouble.await
        yield* Effect.sleep(pause)
        const before = this.stuck.length
        for (let refused = 0, left = before; left > 0 && refused < maxRefused; left--) {
          const [one] = this.stuck
          if (one === undefined) break
          const error = yield* this.write([one])
          this.stuck.shift()
          refused = error === undefined ? 0 : refused + 1
          if (error !== undefined) this.stuck.push(one)
        }
        pause = this.stuck.length < before ? pauseFirstMillis : Math.min(pauseMaxMillis, pause * 2)
        if (this.stuck.length === 0) this.trouble.closeUnsafe()
      }
    })
  }

  /** Writes a batch; answers the error when it was not written. A settlement whose lease is lost counts as written. */
  private write(batch: ReadonlyArray<Settlement>): Effect.Effect<JobQueueError | undefined> {
    return Effect.matchEffect(this.parts.store.settle(this.parts.worker, batch), {
      onSuccess: (lost) => {
        this.written(batch, lost)
        return lost === 0
          ? Effect.undefined
          : Effect.as(
            Effect.logWarning(`jobs: ${lost} of ${batch.length} settle(s) refused: their lease was lost`),
            undefined
          )
      },
      onFailure: (error) => Effect.succeed(error)
    })
  }

  private written(batch: ReadonlyArray<Settlement>, lost: number): void {
    this.open -= batch.length
    if (this.open === 0) this.flushed.openUnsafe()
    const { onFreed, onReady, tally } = this.parts
    tally.settled += batch.length
    tally.lost += lost
    const isReopened = batch.some(({ job, verdict }) =>
      job.key !== null || ((verdict._tag === "Retry" || verdict._tag === "Released") && verdict.delayMillis === 0)
    )
    if (isReopened) onReady()
    onFreed()
  }
}

/** What is settled in the place of an outcome that can never be stored. */
const deadOf = (job: ClaimedJob, message: string): Settlement => {
  const failure = { reason: "Defect", message: message.replaceAll("\u0000", "\uFFFD").slice(0, 1_000) } as const
  return { job, verdict: { _tag: "Dead", failure } }
}
