/** A slot and the fiber in it: whatever a plain handler does to that fiber, the slot is there for the next job. */
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Layer, Option, Schedule, Schema } from "effect"
import { layerMemory } from "../../../../src/layers/jobs/MemoryJobQueue.ts"
import * as Worker from "../../../../src/layers/jobs/worker/Worker.ts"
import * as Job from "../../../../src/services/jobs/Job.ts"
import * as JobHandler from "../../../../src/services/jobs/JobHandler.ts"
import { JobQueue } from "../../../../src/services/jobs/JobQueue.ts"
import { JobStore } from "../../../../src/services/jobs/JobStore.ts"

const Work = Job.make("slots", { payload: Schema.Int, retry: Schedule.spaced("1 hour") })
const options = { poll: "20 millis", beat: "20 millis", lease: "60 seconds", concurrency: 1 } as const

/** A worker that claims all at once: what waits then is for the slot to run, and no claim helps it. */
const workerOf = (handle: (n: number) => Effect.Effect<void>) =>
  Layer.provide(
    Worker.layer([JobHandler.plain(Work, handle)], options),
    Layer.effect(
      JobStore,
      Effect.map(JobStore, (store) =>
        JobStore.of({
          ...store,
          claim: (worker, nth, queues) => store.claim(worker, nth, queues.map((one) => ({ ...one, limit: 100 })))
        }))
    )
  )

/** Runs these jobs one after another in the only slot; answers their states. */
const states = (count: number, handle: (n: number) => Effect.Effect<void>) =>
  Effect.gen(function*() {
    const queue = yield* JobQueue
    const ids = yield* queue.enqueueMany(Work, Array.from({ length: count }, (_, n) => n))
    yield* Effect.provide(queue.ended(ids[count - 1] ?? assert.fail()), workerOf(handle))
    return yield* Effect.forEach(ids, (id) => Effect.map(queue.find(id), (info) => Option.getOrThrow(info).state))
  })

it.live(
  "a job that ends its fiber on the spot gets its verdict, and its slot runs the next",
  () =>
    Effect.gen(function*() {
      const broken: Effect.Effect<void> = Effect.flatMap(Effect.yieldNow, () => undefined as never)
      const all = yield* states(5, (n) => n % 2 === 0 && n < 4 ? broken : Effect.void)
      assert.deepStrictEqual(all, ["scheduled", "succeeded", "scheduled", "succeeded", "succeeded"])
    }).pipe(Effect.provide(layerMemory)),
  5_000
)

it.live(
  "an interruption that a handler leaves behind in its fiber is not that of the next job",
  () =>
    Effect.gen(function*() {
      const pending = Effect.withFiber<void>((fiber) => {
        fiber.interruptUnsafe()
        return Effect.void
      })
      const handlers = [
        pending,
        Effect.uninterruptible(pending),
        Effect.uninterruptible(Effect.andThen(Effect.yieldNow, pending)),
        Effect.exit(Effect.uninterruptible(pending)).pipe(Effect.asVoid, Effect.uninterruptible)
      ]
      const all = yield* states(8, (n) => n % 2 === 0 ? handlers[n / 2] ?? Effect.void : Effect.void)
      assert.deepStrictEqual(all.filter((_, n) => n % 2 === 1), ["succeeded", "succeeded", "succeeded", "succeeded"])
    }).pipe(Effect.provide(layerMemory)),
  5_000
)

it.live(
  "what a handler forks and leaves behind ends with it, before the slot runs the next job",
  () =>
    Effect.gen(function*() {
      let living = 0
      const left = Effect.onExit(
        Effect.andThen(Effect.sync(() => living++), Effect.never),
        () => Effect.sync(() => living--)
      )
      const seen: Array<number> = []
      yield* states(4, () => {
        seen.push(living)
        return Effect.asVoid(Effect.forkChild(left, { startImmediately: true }))
      })
      assert.deepStrictEqual(seen, [0, 0, 0, 0])
    }).pipe(Effect.provide(layerMemory)),
  5_000
)

it.live("an interrupted handler has cleaned up before its slot runs the next job", () =>
  Effect.gen(function*() {
    const queue = yield* JobQueue
    const isRunning = yield* Deferred.make<void>()
    const seen: Array<string> = []
    const slow = Effect.onInterrupt(
      Effect.andThen(Deferred.succeed(isRunning, undefined), Effect.never),
      () => Effect.andThen(Effect.repeat(Effect.yieldNow, { times: 200 }), Effect.sync(() => seen.push("clean")))
    )
    const worker = workerOf((n) => n === 0 ? slow : Effect.sync(() => void seen.push("next")))
    const [first, second] = yield* queue.enqueueMany(Work, [0, 1])
    yield* Effect.provide(
      Effect.gen(function*() {
        yield* Deferred.await(isRunning)
        yield* queue.cancel(first ?? assert.fail())
        yield* queue.ended(second ?? assert.fail())
      }),
      worker
    )
    assert.deepStrictEqual(seen, ["clean", "next"])
  }).pipe(Effect.provide(layerMemory)), 5_000)
