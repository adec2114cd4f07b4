import { Effect, type Layer, Option, Schema } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import type * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import { ServedApi } from "../../services/http/Api.ts"
import * as Cursor from "../../services/http/Cursor.ts"
import * as Problem from "../../services/http/Problem.ts"
import { JobId } from "../../services/jobs/Job.ts"
import { JobAdmin } from "../../services/jobs/JobAdmin.ts"
import { JobQueue } from "../../services/jobs/JobQueue.ts"
import * as Tasks from "../../services/tasks/Tasks.ts"
import * as Page from "./Page.ts"
import { invalid, problemOf } from "./ProblemOf.ts"

/** Tasks in one answer at most: ten thousand would block the event loop for some 70 ms. */
const tasksMax = 1_000

/** The handlers for operators: jobs, queues, tasks. */
export const layer: Layer.Layer<HttpApiGroup.Service<"sluice", "operate">, never, JobQueue | JobAdmin> = HttpApiBuilder
  .group(
    ServedApi,
    "operate",
    Effect.fnUntraced(function*(handlers) {
      const queue = yield* JobQueue
      const admin = yield* JobAdmin
      return handlers.handleAll({
        listJobs: Effect.fnUntraced(
          function*({ query }) {
            const before = yield* Effect.fromResult(Page.after(query.cursor, Schema.is(JobId)))
            const { jobs, next } = yield* admin.list({
              limit: query.limit ?? 50,
              ...(query.queue === undefined ? {} : { queue: query.queue }),
              ...(query.kind === undefined ? {} : { kind: query.kind }),
              ...(query.state === undefined ? {} : { state: query.state }),
              ...(before === undefined ? {} : { before: JobId.make(before) })
            })
            return { jobs, ...(next === undefined ? {} : { next: Cursor.encode(next) }) }
          },
          Effect.mapError((error) =>
            error._tag === "JobOptionInvalid"
              ? invalid(["query", error.option], `Expected ${error.expected}`)
              : problemOf(error)
          )
        ),
        getJob: Effect.fnUntraced(function*({ params }) {
          const job = yield* queue.find(params.id)
          return Option.isSome(job) ? job.value : yield* new Problem.JobNotFound()
        }, Effect.mapError(problemOf)),
        listQueues: Effect.fnUntraced(function*() {
          const stats = yield* admin.stats
          return {
            queues: stats.map((line) => Object.assign({}, line, { oldestReadyMillis: line.oldestReadyMillis ?? null }))
          }
        }, Effect.mapError(problemOf)),
        listTasks: () => Tasks.snapshot({ maxTasks: tasksMax })
      })
    })
  )
