/** The name of a queue as somebody typed it: one that is unknown is a typo, and not a queue without jobs. */
import { Effect, Runtime, Schema } from "effect"
import { FetchRunJob } from "../../services/http/FetchRunJob.ts"
import { JobAdmin } from "../../services/jobs/JobAdmin.ts"
import type { JobQueueError } from "../../services/jobs/JobError.ts"
import { Charge, Settle, Ship } from "../../services/orders/OrderJobs.ts"
import { ExitCode } from "../../services/tasks/ExitCode.ts"
import { Demo } from "../work/DemoWorker.ts"

/** Nothing was ever enqueued there. */
export class QueueUnknown extends Schema.TaggedError<QueueUnknown>()("QueueUnknown", {
  queue: Schema.String,
  known: Schema.Array(Schema.String)
}) {
  override get message(): string {
    return `there is no queue ${JSON.stringify(this.queue)}; there are ${this.known.join(", ")}`
  }
  override get [Runtime.errorExitCode](): number {
    return ExitCode.usage
  }
}

/** Queues of this house: they may be meant before their first job. */
const ours = [Demo, FetchRunJob, Charge, Settle, Ship].map(({ queue }) => queue)

/** Fails when no queue has this name; nothing is wrong with no name at all. */
export const check = Effect.fnUntraced(function*(
  queue: string | undefined
): Effect.fn.Return<void, QueueUnknown | JobQueueError, JobAdmin> {
  if (queue === undefined || ours.includes(queue)) return undefined
  const stats = yield* (yield* JobAdmin).stats
  const known = [...new Set([...stats.map(({ queue }) => queue), ...ours])].toSorted()
  return known.includes(queue) ? undefined : yield* new QueueUnknown({ queue, known })
})
