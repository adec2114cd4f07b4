import { Effect, Latch } from "effect"
import type { JobId } from "../../../services/jobs/Job.ts"
import type { ClaimedJob, JobStore } from "../../../services/jobs/JobStore.ts"
import type { Report } from "../../../services/jobs/Report.ts"

/** What reports are written with. */
export interface ReportsParts {
  readonly store: JobStore["Service"]
  readonly worker: number
  /** The job of this id, while it runs here. */
  readonly running: (id: JobId) => ClaimedJob | undefined
}

/** The reports of a worker are written together, so often at most. */
const everyMillis = 1_000

/** The latest report of each running job, written now and then. One that cannot be written is made up for by the next. */
export class Reports {
  private readonly latest = new Map<JobId, Report>()
  private readonly some = Latch.makeUnsafe(false)
  private readonly parts: ReportsParts

  constructor(parts: ReportsParts) {
    this.parts = parts
  }

  /** Takes a report. No more are kept than there are jobs that run here. */
  readonly take = (id: JobId, report: Report): void => {
    if (this.parts.running(id) === undefined) return
    this.latest.set(id, report)
    this.some.openUnsafe()
  }

  /** Writes them, for ever. */
  get run(): Effect.Effect<void> {
    return Effect.gen({ self: this }, function*() {
      const { running, store, worker } = this.parts
      while (true) {
        yield* this.some.await
        this.some.closeUnsafe()
        const reports = [...this.latest].flatMap(([id, report]) => {
          const job = running(id)
          return job === undefined ? [] : [{ job, report }]
        })
        this.latest.clear()
        yield* Effect.catchCause(
          store.report(worker, reports),
          (cause) => Effect.logDebug("jobs: could not write progress", cause)
        )
        yield* Effect.sleep(everyMillis)
      }
    })
  }
}
