/** What a worker says of its claim loop: idle and full are well, stuck, failing and dead are not. */
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Layer, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import { layerMemory } from "../../../../src/layers/jobs/MemoryJobQueue.ts"
import * as Worker from "../../../../src/layers/jobs/worker/Worker.ts"
import * as Job from "../../../../src/services/jobs/Job.ts"
import { JobQueueError } from "../../../../src/services/jobs/JobError.ts"
import * as JobHandler from "../../../../src/services/jobs/JobHandler.ts"
import { JobQueue } from "../../../../src/services/jobs/JobQueue.ts"
import { JobStore } from "../../../../src/services/jobs/JobStore.ts"
import { JobWorker } from "../../../../src/services/jobs/JobWorker.ts"

const Long = Job.make("long", { payload: Schema.Struct({}), success: Schema.Void, timeout: "2 hours" })

const away = new JobQueueError({ operation: "claim", reason: "Unavailable", detail: "test" })

/** How the store behaves from now on. */
interface Switch {
  claims: "answered" | "hanging" | "failing" | "dying"
  joins: "answered" | "failing"
  alive: boolean
}

const stalled = Effect.flatMap(JobWorker, (worker) => Effect.map(worker.status, (status) => status.claimStalledMillis))

const run = <A, E>(
  test: (store: Switch, started: Deferred.Deferred<void>) => Effect.Effect<A, E, JobWorker | JobQueue>
) =>
  Effect.gen(function*() {
    const behaviour: Switch = { claims: "answered", joins: "answered", alive: true }
    const started = yield* Deferred.make<void>()
    const moody = Layer.effect(
      JobStore,
      Effect.map(JobStore, (store) =>
        JobStore.of({
          ...store,
          claim: (worker, nth, queues) =>
            Effect.suspend(() =>
              behaviour.claims === "answered"
                ? store.claim(worker, nth, queues)
                : behaviour.claims === "hanging"
                ? Effect.never
                : behaviour.claims === "failing"
                ? Effect.fail(away)
                : Effect.die("boom")
            ),
          join: (options) =>
            Effect.suspend(() =>
              behaviour.joins === "failing" ? Effect.fail(away) : Effect.map(store.join(options), (member) => ({
                ...member,
                beat: Effect.map(member.beat, (beat) => ({ ...beat, alive: beat.alive && behaviour.alive }))
              }))
            )
        }))
    )
    const worker = Worker.layer([
      JobHandler.plain(Long, () => Effect.andThen(Deferred.succeed(started, undefined), Effect.sleep("1 hour")))
    ], { concurrency: 1 }).pipe(Layer.provide(moody), Layer.provideMerge(layerMemory))
    const scope = yield* Scope.make()
    const context = yield* Scope.provide(Layer.build(worker), scope)
    const exit = yield* Effect.exit(Effect.provide(test(behaviour, started), context))
    // A drain waits, on the test's clock.
    behaviour.claims = "answered"
    const closing = yield* Effect.forkChild(Scope.close(scope, exit))
    while (closing.pollUnsafe() === undefined) yield* TestClock.adjust("1 second")
    return yield* exit
  })

it.effect("an idle worker is asked again and again, and is never stalled", () =>
  run(() =>
    Effect.gen(function*() {
      for (let second = 0; second < 60; second++) {
        yield* TestClock.adjust("1 second")
        assert.isAtMost(yield* stalled, 2000)
      }
    })
  ))

it.effect("a full worker asks nothing for an hour and is not stalled; when it has room again it must be answered", () =>
  run((store, started) =>
    Effect.gen(function*() {
      const queue = yield* JobQueue
      yield* queue.enqueueMany(Long, [{}, {}])
      yield* TestClock.adjust("1 second")
      yield* Deferred.await(started)
      store.claims = "hanging"
      yield* TestClock.adjust("58 minutes")
      assert.strictEqual(yield* stalled, 0)
      yield* TestClock.adjust("3 minutes")
      assert.isAbove(yield* stalled, 50_000)
    })
  ))

for (const claims of ["hanging", "failing", "dying"] as const) {
  it.effect(`a claim loop that is ${claims} is stalled, and well again with the next answer`, () =>
    run((store) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("5 seconds")
        store.claims = claims
        yield* TestClock.adjust("20 seconds")
        assert.isAbove(yield* stalled, 18_000)
        if (claims === "hanging") return
        store.claims = "answered"
        yield* TestClock.adjust("2 seconds")
        assert.isAtMost(yield* stalled, 2000)
      })
    ))
}

it.effect("a worker that lost its membership while it was full, and cannot join again, is stalled", () =>
  run((store, started) =>
    Effect.gen(function*() {
      const queue = yield* JobQueue
      yield* queue.enqueue(Long, {})
      yield* TestClock.adjust("1 second")
      yield* Deferred.await(started)
      store.joins = "failing"
      store.alive = false
      yield* TestClock.adjust("30 seconds")
      assert.isAbove(yield* stalled, 28_000)
      Object.assign(store, { joins: "answered", alive: true })
      yield* TestClock.adjust("2 seconds")
      assert.isAtMost(yield* stalled, 2000)
    })
  ))
