/** When a batch is settled: seen from inside its transaction. */
import { assert, layer as withLayer } from "@effect/vitest"
import { Effect, Layer, Option, Schema } from "effect"
import * as PostgresJobQueue from "../../../src/layers/jobs/PostgresJobQueue.ts"
import * as Worker from "../../../src/layers/jobs/worker/Worker.ts"
import * as Job from "../../../src/services/jobs/Job.ts"
import * as JobHandler from "../../../src/services/jobs/JobHandler.ts"
import { JobQueue } from "../../../src/services/jobs/JobQueue.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const app = Layer.provideMerge(PostgresJobQueue.layer, TestDatabase.layer)

withLayer(app, { excludeTestServices: true })("when a batch is settled", (it) => {
  for (const [settle, state] of [["first", "succeeded"], ["last", "running"]] as const) {
    it.effect(`${settle}: its handler sees its jobs ${state}`, () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const Kind = Job.make(`settled-${settle}`, { payload: Schema.Int, queue: `settled-${settle}` })
        const states = new Set<Job.JobState>()
        const ids = yield* queue.enqueueMany(Kind, [1, 2, 3])
        const handler = JobHandler.batch(Kind, (items) =>
          Effect.forEach(
            items,
            ({ attempt }) =>
              Effect.map(queue.find(attempt.id), (info) => void states.add(Option.getOrThrow(info).state)),
            { discard: true }
          ), { settle })
        yield* Effect.forEach(ids, queue.ended).pipe(Effect.provide(Layer.fresh(Worker.layer([handler]))))
        assert.deepStrictEqual([...states], [state])
      }))
  }
})
