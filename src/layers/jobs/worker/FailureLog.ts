import { Clock, Duration, Effect, Latch } from "effect"
import type { ClaimedJob, Verdict } from "../../../services/jobs/JobStore.ts"

/** So many lines of one kind are logged in a window; further ones are counted, and the count is told at its end. */
const linesMax = 20
const windowMillis = 10_000

/** As much of a message as a line takes: all of it is kept with the job. */
const messageMax = 500

type Failed = Extract<Verdict, { readonly _tag: "Retry" | "Dead" }>

interface Window {
  readonly endMillis: number
  lines: number
  leftOut: number
  dead: number
}

/** Tells of each attempt that failed: a warning when its job runs again, an error when it is dead. A storm of them is counted instead. */
export class FailureLog {
  /** By kind; a worker has few. */
  private readonly windows = new Map<string, Window>()
  private readonly crowded = Latch.makeUnsafe(false)

  /** An attempt failed. */
  failed(job: ClaimedJob, verdict: Failed): Effect.Effect<void> {
    return Effect.flatMap(Clock.currentTimeMillis, (now) => {
      const window = this.windowOf(job.kind, now)
      if (window.lines < linesMax) {
        window.lines++
        return lineOf(job, verdict)
      }
      window.leftOut++
      if (verdict._tag === "Dead") window.dead++
      this.crowded.openUnsafe()
      return Effect.void
    })
  }

  private windowOf(kind: string, now: number): Window {
    const known = this.windows.get(kind)
    // One with a count lives until that is told.
    if (known !== undefined && (now < known.endMillis || known.leftOut > 0)) return known
    const window = { endMillis: now + windowMillis, lines: 0, leftOut: 0, dead: 0 }
    this.windows.set(kind, window)
    return window
  }

  /** Tells the counts at the end of each window, for ever; when it is interrupted, at once. */
  get run(): Effect.Effect<void> {
    const windows = Effect.andThen(Effect.andThen(this.crowded.await, Effect.sleep(windowMillis)), this.tell)
    return Effect.ensuring(Effect.forever(windows), this.tell)
  }

  private get tell(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.crowded.closeUnsafe()
      const crowded = [...this.windows].filter(([, { leftOut }]) => leftOut > 0)
      for (const [kind] of crowded) this.windows.delete(kind)
      return Effect.forEach(
        crowded,
        ([kind, { dead, leftOut }]) =>
          Effect.logWarning(
            `jobs: ${kind}: ${leftOut} more attempts failed${
              dead === 0 ? "" : `, ${dead} of the jobs are dead`
            }; not logged one by one`
          ).pipe(Effect.annotateLogs({ kind, leftOut, dead })),
        { discard: true }
      )
    })
  }
}

const lineOf = (job: ClaimedJob, verdict: Failed): Effect.Effect<void> => {
  const { attempt, id, kind, maxAttempts } = job
  const { message, reason, trace } = verdict.failure
  const why = `${reason}: ${message.slice(0, messageMax).replaceAll(/\s*\n\s*/gu, " | ")}`
  const text = `jobs: ${kind} ${id}: attempt ${attempt} of ${maxAttempts} failed`
  const fields = { kind, jobId: id, attempt, maxAttempts, reason, ...(trace === undefined ? {} : { trace }) }
  return verdict._tag === "Dead"
    ? Effect.annotateLogs(Effect.logError(`${text}, dead: ${why}`), fields)
    : Effect.logWarning(`${text}, next in ${Duration.format(Duration.millis(verdict.delayMillis))}: ${why}`).pipe(
      Effect.annotateLogs({ ...fields, nextRunMillis: verdict.delayMillis })
    )
}
