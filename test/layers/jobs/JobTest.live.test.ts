/** `JobTest` where there is no `TestClock`. */
import { assert, it } from "@effect/vitest"
import { Duration, Effect, Schema } from "effect"
import * as JobTest from "../../../src/exports/testing/JobTest.ts"
import { layerMemory } from "../../../src/layers/jobs/MemoryJobQueue.ts"
import * as Job from "../../../src/services/jobs/Job.ts"
import * as JobHandler from "../../../src/services/jobs/JobHandler.ts"
import { JobQueue } from "../../../src/services/jobs/JobQueue.ts"

const Welcome = Job.make("mail.welcome", { payload: Schema.Struct({ user: Schema.Int }) })
const welcome = JobHandler.plain(Welcome, () => Effect.void)

it.live("where there is no TestClock it says what would be right, and JobTest.layer brings one", () =>
  Effect.gen(function*() {
    const error = yield* Effect.flip(Effect.provide(JobTest.drain([welcome]), layerMemory))
    assert.include(error.message, "provide JobTest.layer")
    const drained = yield* Effect.provide(
      Effect.gen(function*() {
        const queue = yield* JobQueue
        yield* queue.enqueue(Welcome, { user: 1 }, { delay: "30 minutes" })
        return yield* JobTest.drain([welcome])
      }),
      JobTest.layer
    )
    assert.deepStrictEqual([drained.succeeded, Duration.toMinutes(drained.elapsed)], [1, 30])
  }))

it.live("a handler is performed on the live clock", () =>
  Effect.gen(function*() {
    assert.deepStrictEqual(yield* JobTest.perform(welcome, { user: 1 }), { _tag: "Succeeded", result: undefined })
  }))
