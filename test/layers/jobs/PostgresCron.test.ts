/** A timetable that cannot have its way stops no other, and no heartbeat. */
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Result, Schema } from "effect"
import * as PostgresJobQueue from "../../../src/layers/jobs/PostgresJobQueue.ts"
import * as Job from "../../../src/services/jobs/Job.ts"
import { JobAdmin } from "../../../src/services/jobs/JobAdmin.ts"
import * as JobCron from "../../../src/services/jobs/JobCron.ts"
import { JobQueue } from "../../../src/services/jobs/JobQueue.ts"
import { JobStore } from "../../../src/services/jobs/JobStore.ts"
import { eventually } from "../../support/eventually.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

it.live("a cron whose job cannot be enqueued, or whose unique text somebody holds, stops no other", () =>
  Effect.gen(function*() {
    const store = yield* JobStore
    const queue = yield* JobQueue
    const admin = yield* JobAdmin
    const { worker } = yield* store.join({ queues: [], label: "t", leaseMillis: 60_000, beatMillis: 1_000 })
    const Tick = Job.make("cron.neighbour", { payload: Schema.Null })
    const entry = (name: string, job: object) => {
      const made = Result.getOrThrow(JobCron.make(name, "* * * * * *", Tick, null))
      return { ...made, job: { ...made.job, ...job }, next: (after: number) => after + 1 }
    }
    const entries = [entry("a", { unique: "held" }), entry("b", { payload: "no JSON" }), entry("c", {})]
    const held = yield* Deferred.make<void>()
    const over = yield* Deferred.make<void>()
    const holder = yield* Effect.forkChild(queue.transaction(Effect.gen(function*() {
      yield* queue.enqueue(Tick, null, { unique: "held" })
      yield* Deferred.succeed(held, undefined)
      yield* Deferred.await(over)
    })))
    yield* Effect.raceFirst(Deferred.await(held), Fiber.join(holder))
    const counted = Effect.map(admin.list({ kind: Tick.name }), ({ jobs }) => jobs.length)
    yield* eventually(Effect.andThen(store.tick(worker, entries), counted), (jobs) => jobs >= 3)
    yield* Deferred.succeed(over, undefined)
    yield* Fiber.join(holder)
    assert.isAtLeast(yield* counted, 4)
  }).pipe(
    Effect.scoped,
    Effect.provide(Layer.provide(PostgresJobQueue.layerWith({ listen: false }), TestDatabase.layer))
  ))
