/** A kind of job to try workers with, and its worker. */
import { Effect, type Layer, Schema } from "effect"
import * as Worker from "../../layers/jobs/worker/Worker.ts"
import * as Job from "../../services/jobs/Job.ts"
import type { JobQueueError } from "../../services/jobs/JobError.ts"
import * as JobHandler from "../../services/jobs/JobHandler.ts"
import type { JobStore } from "../../services/jobs/JobStore.ts"
import type * as JobWorker from "../../services/jobs/JobWorker.ts"

/** How long a job of the kind may be told to take. */
export const takesMillis = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 600_000 }))

/** Waits, then answers its text or fails. `sluice jobs try` enqueues some. */
export const Demo = Job.make("demo", {
  payload: Schema.Struct({
    text: Schema.String,
    takesMillis,
    fails: Schema.Boolean
  }),
  success: Schema.String,
  error: Schema.Struct({ text: Schema.String }),
  maxAttempts: 3
})

/** A worker of {@link Demo}. */
export const layer = (
  options: JobWorker.WorkerOptions = {}
): Layer.Layer<JobWorker.JobWorker, JobQueueError, JobStore> =>
  Worker.layer([
    JobHandler.plain(Demo, ({ fails, takesMillis, text }) =>
      Effect.delay(fails ? Effect.fail({ text }) : Effect.succeed(text), takesMillis))
  ], { label: "demo", ...options })
