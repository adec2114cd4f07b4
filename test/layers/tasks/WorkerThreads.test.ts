import { assert, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Schema, Scope } from "effect"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as WorkerThreads from "../../../src/layers/tasks/WorkerThreads.ts"
import * as Deadline from "../../../src/services/tasks/Deadline.ts"
import * as FanOut from "../../../src/services/tasks/FanOut.ts"
import * as OffloadModule from "../../../src/services/tasks/Offload.ts"
import { JobDied, Offload } from "../../../src/services/tasks/Offload.ts"
import * as Tasks from "../../../src/services/tasks/Tasks.ts"
import { eventually } from "../../support/eventually.ts"
import { leakFree } from "../../support/leakFree.ts"
import * as Jobs from "../../support/offloadJobs.ts"
import { sweep } from "../../support/sweep.ts"

const started = (shared: SharedArrayBuffer) =>
  Effect.promise(() => Promise.resolve(Atomics.waitAsync(new Int32Array(shared), 0, 0).value))

/** A native call that outlasts what is asked of it on any machine: `input` for the job, and what waits until it has begun. */
const nativeCall = Effect.sync(() => {
  const file = Path.join(Fs.mkdtempSync(Path.join(Os.tmpdir(), "sluice-native-")), "begun")
  return {
    input: { file, seconds: 5 },
    begun: Effect.gen(function*() {
      yield* eventually(Effect.sync(() => Fs.existsSync(file)), (isThere) => isThere)
      Fs.rmSync(Path.dirname(file), { recursive: true })
    })
  }
})

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

const notCopyable: ReadonlyArray<readonly [name: string, value: unknown]> = [
  ["a function", () => 1],
  ["an object with a function", { method: () => 1 }],
  ["a symbol", Symbol("x")],
  ["a promise", Promise.resolve(1)],
  ["a getter that throws", Object.defineProperty({}, "x", { enumerable: true, get: () => assert.fail("read") })]
]

for (const [name, value] of notCopyable) {
  it.live(`an input that cannot be copied, ${name}, is the job's defect, and the thread goes on`, () =>
    onThreads({ threads: 1 })(Effect.gen(function*() {
      const offload = yield* Offload
      // Before the thread has begun, and after.
      for (let time = 0; time < 2; time++) {
        const error = yield* Effect.flip(offload.run(Jobs.anything, value))
        assert.strictEqual(error._tag, "JobDied")
        assert.include(error.message, "its input cannot be sent to another thread")
      }
      assert.strictEqual(yield* offload.run(Jobs.anything, "x"), 1)
      assert.deepStrictEqual(yield* offload.stats, { threads: 1, busy: 0, queued: 0, ending: 0 })
    })))
}

for (const what of ["output", "error"] as const) {
  it.live(`an ${what} that cannot be copied is the job's defect, and the thread goes on`, () =>
    onThreads({ threads: 1 })(Effect.gen(function*() {
      const offload = yield* Offload
      const before = yield* offload.run(Jobs.threadId, undefined)
      const error = yield* Effect.flip(offload.run(Jobs.unsendable, what))
      assert.instanceOf(error, JobDied)
      assert.include(String(error), "cannot be sent to another thread")
      assert.strictEqual(yield* offload.run(Jobs.threadId, undefined), before)
    })))
}

it.live("a schema that throws is the job's defect, on either side", () =>
  onThreads({ threads: 1 })(Effect.gen(function*() {
    const offload = yield* Offload
    for (const run of [offload.run(Jobs.badSchema, "x"), offload.run(Jobs.badOutput, undefined)]) {
      const error = yield* Effect.flip(run)
      assert.strictEqual(error._tag, "JobDied")
      assert.include(error.message, "the schema has a bug")
    }
  })))

it.live("what ended a thread is said: an exception of a timer, no memory, an exit", () =>
  onThreads({ threads: 1, maxHeapMegabytes: 64 })(Effect.gen(function*() {
    const offload = yield* Offload
    const detailOf = (run: Effect.Effect<unknown, { readonly message: string }>) =>
      Effect.map(Effect.flip(run), (error) => error.message)
    assert.include(yield* detailOf(offload.run(Jobs.throwsLater, undefined)), "ended: thrown by a timer")
    assert.include(yield* detailOf(offload.run(Jobs.hoard, undefined)), "out of memory")
    assert.include(yield* detailOf(offload.run(Jobs.crash, undefined)), "it ended with code 7")
  })))

it.live("with no line at all, a job is taken while a thread is free, and refused while none is", () =>
  onThreads({ threads: 1, maxQueued: 0, grace: "10 seconds" })(Effect.gen(function*() {
    const offload = yield* Offload
    assert.strictEqual(yield* offload.run(Jobs.half, 2), 1)
    const shared = new SharedArrayBuffer(8)
    const busy = yield* Effect.forkChild(offload.run(Jobs.polite, shared), { startImmediately: true })
    yield* started(shared)
    assert.include((yield* Effect.flip(offload.run(Jobs.half, 4))).message, "no thread is free, and 0 jobs wait")
    yield* Fiber.interrupt(busy)
    assert.strictEqual(yield* offload.run(Jobs.half, 2), 1)
  })))

it.live("an interruption does not wait for a native call: its thread is replaced, counted until it has ended, and bounded", () =>
  onThreads({ threads: 1, maxEnding: 1, grace: "50 millis" })(Effect.gen(function*() {
    const offload = yield* Offload
    const before = yield* offload.run(Jobs.threadId, undefined)
    const cut = Effect.gen(function*() {
      const { begun, input } = yield* nativeCall
      const fiber = yield* Effect.forkChild(offload.run(Jobs.native, input), { startImmediately: true })
      yield* begun
      yield* Fiber.interrupt(fiber)
    })
    // The call has not ended: its thread is counted.
    yield* cut
    assert.deepStrictEqual(yield* offload.stats, { threads: 0, busy: 0, queued: 0, ending: 1 })
    assert.notStrictEqual(yield* offload.run(Jobs.threadId, undefined), before)
    yield* cut
    assert.deepStrictEqual(yield* offload.stats, { threads: 0, busy: 0, queued: 0, ending: 2 })
    // As many as may be ending and working: the next job waits until one of them has ended.
    const waiting = yield* Effect.forkChild(offload.run(Jobs.half, 8), { startImmediately: true })
    assert.include(yield* Tasks.dump, "permit of threads that are ending")
    assert.strictEqual(yield* Fiber.join(waiting), 4)
    // And whoever stops waiting takes nothing with him.
    const gone = yield* Effect.forkChild(offload.run(Jobs.half, 8), { startImmediately: true })
    yield* Fiber.interrupt(gone)
    assert.strictEqual(yield* offload.run(Jobs.half, 8), 4)
    yield* eventually(offload.stats, ({ ending }) => ending === 0)
  })))

it.live("a deadline over a native call fires in its time", () =>
  onThreads({ threads: 1, grace: "20 millis" })(Effect.gen(function*() {
    const offload = yield* Offload
    yield* offload.run(Jobs.half, 2)
    const { begun, input } = yield* nativeCall
    const run = Effect.flip(
      Deadline.use(
        "1 hour",
        (deadline) => FanOut.all([offload.run(Jobs.native, input), Effect.andThen(begun, deadline.move("200 millis"))])
      )
    )
    assert.strictEqual((yield* run)._tag, "DeadlineExceeded")
    assert.strictEqual((yield* offload.stats).ending, 1, "the call has not ended")
    yield* eventually(offload.stats, ({ ending }) => ending === 0)
  })))

it.live("closing the layer does not wait for a native call longer than a second", () =>
  leakFree(Effect.gen(function*() {
    const { begun, input } = yield* nativeCall
    const scope = yield* Scope.make()
    const offload = Context.get(yield* Layer.buildWithScope(WorkerThreads.layer({ threads: 1 }), scope), Offload)
    const fiber = yield* Effect.forkChild(Effect.flip(offload.run(Jobs.native, input)), { startImmediately: true })
    yield* begun
    yield* Scope.close(scope, Exit.void)
    assert.strictEqual((yield* offload.stats).ending, 1, "the call has not ended")
    assert.include((yield* Fiber.join(fiber)).message, "the pool was closed")
    assert.include((yield* Effect.flip(offload.run(Jobs.half, 2))).message, "the pool was closed")
    yield* eventually(offload.stats, ({ ending }) => ending === 0)
  })))

it.live("a job without a schema for its error cannot fail", () =>
  Effect.sync(() => {
    const fails = (n: number): Effect.Effect<number, Jobs.Odd> => new Jobs.Odd({ n })
    type RunOf<E> = Parameters<typeof OffloadModule.job<number, number, E>>[0]["run"]
    type IsTaken<Run> = typeof fails extends Run ? true : false
    // The types are the test: an error that nothing describes, or something else does, could not be sent.
    const withoutSchema: IsTaken<RunOf<never>> = false
    const withAnother: IsTaken<RunOf<string>> = false
    const withItsOwn: IsTaken<RunOf<Jobs.Odd>> = true
    assert.deepStrictEqual([withoutSchema, withAnother, withItsOwn], [false, false, true])
    const typed = OffloadModule.job({
      name: "x",
      module: import.meta.url,
      input: Schema.Int,
      output: Schema.Int,
      error: Jobs.Odd,
      run: fails
    })
    assert.strictEqual(typed.error, Jobs.Odd)
  }))
