import { assert, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import * as WorkerThreads from "../../../src/layers/tasks/WorkerThreads.ts"
import { Offload } from "../../../src/services/tasks/Offload.ts"
import { leakFree } from "../../support/leakFree.ts"
import * as Jobs from "../../support/offloadJobs.ts"
import { sweep } from "../../support/sweep.ts"

const started = (shared: SharedArrayBuffer) =>
  Effect.promise(() => Promise.resolve(Atomics.waitAsync(new Int32Array(shared), 0, 0).value))

const onThreads = (options?: WorkerThreads.Options) => <A, E>(self: Effect.Effect<A, E, Offload>) =>
  leakFree(Effect.provide(self, WorkerThreads.layer(options)))

it.live("a typed request is answered from another thread", () =>
  onThreads()(Effect.gen(function*() {
    const offload = yield* Offload
    assert.strictEqual(yield* offload.run(Jobs.half, 42), 21)
    assert.notStrictEqual(yield* offload.run(Jobs.threadId, undefined), 0)
  })))

it.live("a failure of the job comes back as the class it is", () =>
  onThreads()(Effect.gen(function*() {
    const offload = yield* Offload
    const error = yield* Effect.flip(offload.run(Jobs.half, 41))
    assert.instanceOf(error, Jobs.Odd)
    assert.deepStrictEqual(error, new Jobs.Odd({ n: 41 }))
  })))

it.live("a thread that ends, or runs out of memory, is a typed error, and the next job gets a new thread", () =>
  onThreads({ threads: 1, maxHeapMegabytes: 64 })(Effect.gen(function*() {
    const offload = yield* Offload
    const before = yield* offload.run(Jobs.threadId, undefined)
    const error = yield* Effect.flip(offload.run(Jobs.crash, undefined))
    assert.strictEqual(error._tag, "ThreadCrashed")
    assert.include(error.message, "7")
    assert.strictEqual((yield* Effect.flip(offload.run(Jobs.hoard, undefined)))._tag, "ThreadCrashed")
    assert.notStrictEqual(yield* offload.run(Jobs.threadId, undefined), before)
  })))

it.live("a job that dies is a typed error, and its thread goes on", () =>
  onThreads({ threads: 1 })(Effect.gen(function*() {
    const offload = yield* Offload
    const before = yield* offload.run(Jobs.threadId, undefined)
    const error = yield* Effect.flip(offload.run(Jobs.dies, undefined))
    assert.strictEqual(error._tag, "JobDied")
    assert.include(error.message, "a bug in the job")
    assert.strictEqual(yield* offload.run(Jobs.threadId, undefined), before)
  })))

it.live("interrupting a job that listens stops it and keeps its thread", () =>
  onThreads({ threads: 1, grace: "10 seconds" })(Effect.gen(function*() {
    const offload = yield* Offload
    const before = yield* offload.run(Jobs.threadId, undefined)
    const shared = new SharedArrayBuffer(8)
    const fiber = yield* Effect.forkChild(offload.run(Jobs.polite, shared), { startImmediately: true })
    yield* started(shared)
    yield* Fiber.interrupt(fiber)
    assert.strictEqual(Atomics.load(new Int32Array(shared), 1), 1)
    assert.strictEqual(yield* offload.run(Jobs.threadId, undefined), before)
  })))

it.live("interrupting a job that does not listen terminates its thread and replaces it", () =>
  onThreads({ threads: 1, grace: "20 millis" })(Effect.gen(function*() {
    const offload = yield* Offload
    const before = yield* offload.run(Jobs.threadId, undefined)
    const shared = new SharedArrayBuffer(8)
    const fiber = yield* Effect.forkChild(offload.run(Jobs.spin, shared), { startImmediately: true })
    yield* started(shared)
    yield* Fiber.interrupt(fiber)
    assert.notStrictEqual(yield* offload.run(Jobs.threadId, undefined), before)
    assert.deepStrictEqual(yield* offload.stats, { threads: 1, busy: 0, queued: 0, ending: 0 })
  })))

it.live("the line is bounded: one job more than may wait is refused", () =>
  onThreads({ threads: 1, maxQueued: 1, grace: "10 millis" })(Effect.gen(function*() {
    const offload = yield* Offload
    const shared = new SharedArrayBuffer(8)
    const busy = yield* Effect.forkChild(offload.run(Jobs.polite, shared), { startImmediately: true })
    yield* started(shared)
    const waiting = yield* Effect.forkChild(offload.run(Jobs.half, 2), { startImmediately: true })
    assert.deepStrictEqual(yield* offload.stats, { threads: 1, busy: 1, queued: 1, ending: 0 })
    assert.strictEqual((yield* Effect.flip(offload.run(Jobs.half, 4)))._tag, "OffloadFull")
    yield* Fiber.interrupt(busy)
    assert.strictEqual(yield* Fiber.join(waiting), 1)
  })))

it.live("closing the layer while a thread computes ends it at once", () =>
  leakFree(Effect.gen(function*() {
    const shared = new SharedArrayBuffer(8)
    const fiber = yield* Effect.gen(function*() {
      const offload = yield* Offload
      return yield* offload.run(Jobs.spin, shared)
    }).pipe(
      Effect.provide(WorkerThreads.layer({ threads: 1, grace: "10 millis" })),
      Effect.forkChild({ startImmediately: true })
    )
    yield* started(shared)
    yield* Fiber.interrupt(fiber)
    assert.isTrue(Exit.isFailure(yield* Fiber.await(fiber)))
  })))

it.live("interrupted at any operation, a job leaves neither a permit nor a thread taken", () =>
  onThreads({ threads: 1, grace: "5 seconds" })(Effect.gen(function*() {
    const offload = yield* Offload
    yield* offload.run(Jobs.half, 2)
    const hits = yield* sweep(
      Effect.succeed({
        others: [offload.run(Jobs.half, 4)],
        victim: offload.run(Jobs.half, 6),
        check: (at: string) =>
          Effect.gen(function*() {
            assert.deepStrictEqual(yield* offload.stats, { threads: 1, busy: 0, queued: 0, ending: 0 }, at)
            assert.strictEqual(yield* offload.run(Jobs.half, 8), 4, at)
          })
      }),
      { budgets: 8, turns: 10 }
    )
    assert.isAbove(hits, 20)
  })))
