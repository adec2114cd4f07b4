/** What only a claim at the wrong moment shows: the store is the in-memory one with a gate before some of its claims. */
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Layer, Queue, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import { layerMemory } from "../../../src/layers/jobs/MemoryJobQueue.ts"
import * as Job from "../../../src/services/jobs/Job.ts"
import { JobQueueError } from "../../../src/services/jobs/JobError.ts"
import * as JobHandler from "../../../src/services/jobs/JobHandler.ts"
import { JobQueue } from "../../../src/services/jobs/JobQueue.ts"
import { JobStore, type Signal } from "../../../src/services/jobs/JobStore.ts"
import * as JobWorker from "../../../src/services/jobs/JobWorker.ts"

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
    const worker = JobWorker.layer(handlers, { concurrency: 2, transactions: 1, maxClaim: 1, poll: "20 millis" })
    const idle = Effect.flatMap(JobWorker.JobWorker, (worker) => {
      claims = 1
      return Effect.andThen(Deferred.await(isClaiming), worker.idle)
    })
    yield* Effect.provide(idle, Layer.provide(worker, Layer.succeed(JobStore, gated)))
    assert.deepStrictEqual(done, [1, 2, 3])
  }).pipe(Effect.provide(layerMemory)), 5_000)

it.effect("a worker whose word that it is busy got no answer is woken all the same when it sleeps again", () =>
  Effect.gen(function*() {
    const queue = yield* JobQueue
    const store = yield* JobStore
    const told: Array<boolean> = []
    const done: Array<number> = []
    const lost = new JobQueueError({ operation: "idle", reason: "Unavailable", detail: "the answer is lost" })
    const forgetful = JobStore.of({
      ...store,
      join: (joining) =>
        Effect.map(store.join(joining), (member) => ({
          ...member,
          idle: (isIdle) => {
            told.push(isIdle)
            return Effect.andThen(member.idle(isIdle), isIdle ? Effect.void : Effect.fail(lost))
          }
        }))
    })
    const handler = JobHandler.plain(Plain, (n) => Effect.map(Effect.sleep("150 millis"), () => void done.push(n)))
    const worker = JobWorker.layer([handler], { concurrency: 1, maxClaim: 1, poll: "1 hour" })
    const scene = Effect.gen(function*() {
      yield* TestClock.adjust("1 second")
      yield* queue.enqueueMany(Plain, [1, 2, 3, 4, 5])
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual([told.includes(false), done], [true, [1, 2, 3, 4, 5]])
      yield* queue.enqueue(Plain, 6)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(done, [1, 2, 3, 4, 5, 6])
    })
    const scope = yield* Scope.make()
    yield* Layer.buildWithScope(Layer.provide(worker, Layer.succeed(JobStore, forgetful)), scope)
    const seen = yield* Effect.exit(scene)
    const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
    while (closing.pollUnsafe() === undefined) yield* TestClock.adjust("1 second")
    yield* seen
  }).pipe(Effect.provide(layerMemory)))
