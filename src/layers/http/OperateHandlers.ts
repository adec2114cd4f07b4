/** The handlers of those who run it: jobs, queues, tasks. */
import { Effect, type Layer, Option, Schema } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import type * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import { ServedApi } from "../../services/http/Api.ts"
import * as Cursor from "../../services/http/Cursor.ts"
import * as Problem from "../../services/http/Problem.ts"
import { JobId } from "../../services/jobs/Job.ts"
import { JobAdmin } from "../../services/jobs/JobAdmin.ts"
import type { JobOptionInvalid, JobQueueError } from "../../services/jobs/JobError.ts"
import { JobQueue } from "../../services/jobs/JobQueue.ts"
import * as Tasks from "../../services/tasks/Tasks.ts"
import * as Page from "./Page.ts"

const ofQueue = (error: JobQueueError) =>
  error.reason === "Rejected" ? new Problem.Internal() : new Problem.Unavailable()

const ofAdmin = (error: JobQueueError | JobOptionInvalid) =>
  error._tag === "JobQueueError" ? ofQueue(error) : new Problem.InvalidRequest({
    detail: "Request validation failed",
    errors: [{ path: ["query", error.option], message: `Expected ${error.expected}` }]
  })

/** Ten thousand would keep the event loop for some 70 ms. */
const tasksMax = 1_000

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
          const before = yield* Effect.fromResult(Page.after(query.cursor, Schema.is(JobId)))
          const { jobs, next } = yield* Effect.mapError(
            admin.list({
              limit: query.limit ?? 50,
              ...(query.queue === undefined ? {} : { queue: query.queue }),
              ...(query.kind === undefined ? {} : { kind: query.kind }),
              ...(query.state === undefined ? {} : { state: query.state }),
              ...(before === undefined ? {} : { before: JobId.make(before) })
            }),
            ofAdmin
          )
          return { jobs, ...(next === undefined ? {} : { next: Cursor.encode(next) }) }
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
        listTasks: () => Tasks.snapshot({ maxTasks: tasksMax })
      })
    })
  )
