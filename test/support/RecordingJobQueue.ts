/** A queue that only writes down what is enqueued: for tests of what enqueues, without what works. */
import { Context, Effect, Layer, Stream } from "effect"
import { JobId } from "../../src/services/jobs/Job.ts"
import { JobQueue } from "../../src/services/jobs/JobQueue.ts"

export interface Recorded {
  readonly kind: string
  readonly payload: unknown
}

export class RecordedJobs extends Context.Service<RecordedJobs, { readonly jobs: Array<Recorded> }>()(
  "sluice/test/support/RecordedJobs"
) {}

export const layer: Layer.Layer<JobQueue | RecordedJobs> = Layer.effectContext(Effect.sync(() => {
  const jobs: Array<Recorded> = []
  const record = (kind: string, payload: unknown) => {
    jobs.push({ kind, payload })
    return JobId.make(String(jobs.length))
  }
  return Context.make(RecordedJobs, { jobs }).pipe(Context.add(
    JobQueue,
    JobQueue.of({
      enqueue: (kind, payload) => Effect.sync(() => record(kind.name, payload)),
      enqueueMany: (kind, payloads) => Effect.sync(() => payloads.map((payload) => record(kind.name, payload))),
      transaction: (effect) => effect,
      cancel: () => Effect.succeed("finished" as const),
      find: () => Effect.succeedNone,
      ended: () => Effect.never,
      events: Stream.empty
    })
  ))
}))
