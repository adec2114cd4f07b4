/** What only a claim at the wrong moment shows: the store is the in-memory one with a gate before some of its claims. */
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Layer, Queue, Schema } from "effect"
import { layerMemory } from "../../../../src/layers/jobs/MemoryJobQueue.ts"
import * as Worker from "../../../../src/layers/jobs/worker/Worker.ts"
import * as Job from "../../../../src/services/jobs/Job.ts"
import * as JobHandler from "../../../../src/services/jobs/JobHandler.ts"
import { JobQueue } from "../../../../src/services/jobs/JobQueue.ts"
import { JobStore, type Signal } from "../../../../src/services/jobs/JobStore.ts"
import { JobWorker } from "../../../../src/services/jobs/JobWorker.ts"

const Batched = Job.make("engine.batched", { payload: Schema.Int })
const Plain = Job.make("engine.plain", { payload: Schema.Int })

it.live("a claim that did not ask a queue says nothing about it: the worker is not idle", () =>
  Effect.gen(function*() {
    const queue = yield* JobQueue
    const store = yield* JobStore
    const signals = yield* Queue.unbounded<Signal>()
    const isAsked = yield* Deferred.make<void>()
    const isEnded = yield* Deferred.make<void>()
    const done: Array<number> = []
    const isClaiming = yield* Deferred.make<void>()
    // A worker begins to be waited for during a claim, and gets its jobs with the next one.
    let claims = 0
    const before = Effect.suspend(() => {
      if (claims > 0) claims++
      if (claims === 2) return Effect.andThen(Deferred.succeed(isClaiming, undefined), Effect.sleep(20))
      if (claims === 3) return Effect.andThen(Effect.orDie(queue.enqueueMany(Batched, [1, 2, 3])), Effect.sleep(20))
      return Effect.void
    })
    const gated = JobStore.of({
      ...store,
      // Without wake-ups, which would make up for it.
      join: (joining) => Effect.map(store.join(joining), (member) => ({ ...member, signals })),
      transact: (effect, limits) => Effect.tap(store.transact(effect, limits), Deferred.succeed(isEnded, undefined)),
      claim: (worker, nth, requests) =>
        requests.some((request) => request.queue === "engine.batched")
          ? Effect.andThen(before, store.claim(worker, nth, requests))
          // While the only transaction is in use the other queue alone is asked: the answer comes when the transaction is over and its slot free.
          : Deferred.succeed(isAsked, undefined).pipe(
            Effect.andThen(Deferred.await(isEnded)),
            Effect.andThen(Effect.sleep(20)),
            Effect.andThen(store.claim(worker, nth, requests))
          )
    })
    const handlers = [
      JobHandler.batch(
        Batched,
        (items) => Effect.map(Deferred.await(isAsked), () => void done.push(...items.map(({ payload }) => payload))),
        { maxSize: 1 }
      ),
      JobHandler.plain(Plain, () => Effect.void)
    ]
    const worker = Worker.layer(handlers, { concurrency: 2, transactions: 1, maxClaim: 1, poll: "20 millis" })
    const idle = Effect.flatMap(JobWorker, (worker) => {
      claims = 1
      return Effect.andThen(Deferred.await(isClaiming), worker.idle)
    })
    yield* Effect.provide(idle, Layer.provide(worker, Layer.succeed(JobStore, gated)))
    assert.deepStrictEqual(done, [1, 2, 3])
  }).pipe(Effect.provide(layerMemory)), 5_000)
