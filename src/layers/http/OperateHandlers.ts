/** The handlers of those who run it: jobs, queues, tasks. */
import { Effect, type Layer, Option } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import type * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import { ServedApi } from "../../services/http/Api.ts"
import * as Cursor from "../../services/http/Cursor.ts"
import * as Problem from "../../services/http/Problem.ts"
import { JobId } from "../../services/jobs/Job.ts"
import { JobAdmin } from "../../services/jobs/JobAdmin.ts"
import type { JobQueueError } from "../../services/jobs/JobError.ts"
import { JobQueue } from "../../services/jobs/JobQueue.ts"
import * as Tasks from "../../services/tasks/Tasks.ts"
import * as Page from "./Page.ts"

const ofQueue = (error: JobQueueError) =>
  error.reason === "Rejected" ? new Problem.Internal() : new Problem.Unavailable()

const isJobId = (id: string) => /^\d{1,18}$/.test(id)

/** Jobs, queues and tasks. */
export const layer: Layer.Layer<HttpApiGroup.Service<"sluice", "operate">, never, JobQueue | JobAdmin> = HttpApiBuilder
  .group(
    ServedApi,
    "operate",
    Effect.fnUntraced(function*(handlers) {
      const queue = yield* JobQueue
      const admin = yield* JobAdmin
      return handlers.handleAll({
        listJobs: Effect.fnUntraced(function*({ query }) {
          const before = yield* Effect.fromResult(Page.after(query.cursor, isJobId))
          const limit = query.limit ?? 50
          const jobs = yield* Effect.mapError(
            admin.list({
              limit,
              ...(query.queue === undefined ? {} : { queue: query.queue }),
              ...(query.kind === undefined ? {} : { kind: query.kind }),
              ...(query.state === undefined ? {} : { state: query.state }),
              ...(before === undefined ? {} : { before: JobId.make(before) })
            }),
            ofQueue
          )
          const last = jobs.at(-1)
          return { jobs, ...(jobs.length < limit || last === undefined ? {} : { next: Cursor.encode(last.id) }) }
        }),
        getJob: Effect.fnUntraced(function*({ params }) {
          const job = yield* Effect.mapError(queue.find(params.id), ofQueue)
          return Option.isSome(job) ? job.value : yield* new Problem.JobNotFound()
        }),
        listQueues: Effect.fnUntraced(function*() {
          const stats = yield* Effect.mapError(admin.stats, ofQueue)
          return {
            queues: stats.map((line) => Object.assign({}, line, { oldestReadyMillis: line.oldestReadyMillis ?? null }))
          }
        }),
        listTasks: () => Tasks.snapshot()
      })
    })
  )
