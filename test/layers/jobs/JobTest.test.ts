/** The tests of one's own jobs: what `JobTest` of `sluice/testing` does, and that nothing of it hangs. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Duration, Effect, Fiber, Layer, Schedule, Schema } from "effect"
import { TestClock } from "effect/testing"
import * as JobTest from "../../../src/exports/testing/JobTest.ts"
import { layerMemory } from "../../../src/layers/jobs/MemoryJobQueue.ts"
import * as Worker from "../../../src/layers/jobs/worker/Worker.ts"
import * as Job from "../../../src/services/jobs/Job.ts"
import { JobAdmin } from "../../../src/services/jobs/JobAdmin.ts"
import { JobDiscard, JobSnooze } from "../../../src/services/jobs/JobError.ts"
import * as JobHandler from "../../../src/services/jobs/JobHandler.ts"
import { JobQueue } from "../../../src/services/jobs/JobQueue.ts"

class Declined extends Schema.TaggedError<Declined>()("Declined", { limit: Schema.Int }) {}

const Welcome = Job.make("mail.welcome", {
  payload: Schema.Struct({ user: Schema.Int, at: Schema.optionalKey(Schema.Date) }),
  success: Schema.String,
  error: Declined,
  maxAttempts: 3
})
const Report = Job.make("report", { payload: Schema.Struct({ parts: Schema.Array(Schema.String) }) })

const welcome = JobHandler.plain(Welcome, ({ user }) => Effect.succeed(`hello ${user}`))

const millis = Clock.currentTimeMillis

describe("the natural test of a worker", () => {
  const beside = (handler: JobHandler.Handler<never>) => Layer.provideMerge(Worker.layer([handler]), layerMemory)

  it.effect("ends, and its cleanup too", () =>
    Effect.gen(function*() {
      const queue = yield* JobQueue
      const info = yield* queue.ended(yield* queue.enqueue(Welcome, { user: 1 }))
      assert.deepStrictEqual([info.state, info.result], ["succeeded", "hello 1"])
    }).pipe(Effect.provide(beside(welcome))), 5_000)

  it.effect("many wait for the end of one job, and one of them stops waiting", () =>
    Effect.gen(function*() {
      const queue = yield* JobQueue
      const id = yield* queue.enqueue(Welcome, { user: 1 })
      const ended = Effect.forkChild(queue.ended(id), { startImmediately: true })
      const [one, two, three] = [yield* ended, yield* ended, yield* ended]
      yield* Fiber.interrupt(two)
      yield* Effect.provide(
        Effect.forEach([one, three], (fiber) =>
          Effect.map(Fiber.join(fiber), ({ state }) => assert.strictEqual(state, "succeeded"))),
        Worker.layer([welcome])
      )
    }).pipe(Effect.provide(layerMemory)), 5_000)

  it.effect(
    "ends also when a handler still sleeps on the virtual clock, with no grace for it",
    () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const began = yield* Deferred.make<void>()
        const sleeper = JobHandler.plain(
          Welcome,
          () => Effect.andThen(Deferred.succeed(began, undefined), Effect.delay(Effect.succeed(""), "1 hour"))
        )
        const id = yield* queue.enqueue(Welcome, { user: 1 })
        yield* Effect.provide(Deferred.await(began), Worker.layer([sleeper], { drainGrace: 0 }))
        const { info } = yield* JobTest.assertEnqueued(Welcome, { user: 1 }, { state: "ready" })
        assert.strictEqual(info.id, id)
      }).pipe(Effect.provide(layerMemory)),
    5_000
  )
})

describe("JobTest.drain", () => {
  it.effect("runs what waits, and answers what became of it", () =>
    Effect.gen(function*() {
      const queue = yield* JobQueue
      yield* queue.enqueueMany(Welcome, [{ user: 1 }, { user: 2 }])
      const drained = yield* JobTest.drain([welcome])
      assert.deepStrictEqual({ ...drained, elapsed: Duration.toMillis(drained.elapsed) }, {
        succeeded: 2,
        cancelled: 0,
        dead: 0,
        retried: 0,
        waiting: 0,
        elapsed: 0
      })
    }).pipe(Effect.provide(layerMemory)), 5_000)

  it.effect(
    "moves the clock for retries and delays, exactly, and leaves what is due later",
    () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const began: Array<number> = []
        const flaky = JobHandler.plain(Welcome, (_, { attempt }) =>
          Effect.gen(function*() {
            began.push(yield* millis)
            return attempt < 3 ? yield* new Declined({ limit: attempt }) : "at last"
          }))
        const soon = yield* queue.enqueue(Welcome, { user: 1 }, { delay: "10 minutes" })
        yield* queue.enqueue(Welcome, { user: 2 }, { delay: "2 hours" })
        const drained = yield* JobTest.drain([flaky])
        assert.deepStrictEqual(began, [600_000, 601_000, 603_000])
        assert.deepStrictEqual([drained.succeeded, drained.retried, drained.waiting], [1, 2, 1])
        assert.strictEqual(Duration.toMillis(drained.elapsed), 603_000)
        assert.strictEqual((yield* queue.ended(soon)).result, "at last")
        assert.strictEqual((yield* JobTest.drain([flaky], { within: "1 day" })).succeeded, 1)
      }).pipe(Effect.provide(layerMemory)),
    5_000
  )

  it.effect(
    "handlers that sleep take no real time, and those that never end run into their timeout",
    () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const ends: Array<number> = []
        const slow = JobHandler.plain(Welcome, ({ user }) =>
          user === 1
            ? Effect.gen(function*() {
              yield* Effect.sleep("40 seconds")
              ends.push(yield* millis)
              return ""
            })
            : Effect.never)
        yield* queue.enqueueMany(Welcome, [{ user: 1 }, { user: 2 }], { maxAttempts: 1 })
        const drained = yield* JobTest.drain([slow])
        assert.deepStrictEqual([drained.succeeded, drained.dead], [1, 1])
        assert.deepStrictEqual(ends, [40_000])
        assert.strictEqual(Duration.toMillis(drained.elapsed), 60_000)
      }).pipe(Effect.provide(layerMemory)),
    5_000
  )

  it.effect("runs what jobs enqueue, in all modes, in order of their key", () =>
    Effect.gen(function*() {
      const queue = yield* JobQueue
      const Step = Job.make("step", { payload: Schema.Int, key: () => "k" })
      const seen: Array<number> = []
      const steps = JobHandler.transactional(Step, (n) =>
        Effect.gen(function*() {
          seen.push(n)
          if (n < 5) yield* queue.enqueue(Step, n + 1)
          else yield* queue.enqueue(Report, { parts: ["a"] })
        }))
      const reports = JobHandler.batch(Report, () => Effect.void)
      yield* queue.enqueue(Step, 1)
      assert.strictEqual((yield* JobTest.drain([steps, reports])).succeeded, 6)
      assert.deepStrictEqual(seen, [1, 2, 3, 4, 5])
    }).pipe(Effect.provide(layerMemory)), 5_000)

  it.effect("a queue with a rate is drained at its rate, a paused one not at all", () =>
    Effect.gen(function*() {
      const queue = yield* JobQueue
      const admin = yield* JobAdmin
      yield* admin.setRate("report", 2)
      yield* admin.pause("mail.welcome")
      yield* queue.enqueueMany(Report, Array.from({ length: 8 }, () => ({ parts: [] })))
      yield* queue.enqueue(Welcome, { user: 1 })
      const drained = yield* JobTest.drain([JobHandler.plain(Report, () => Effect.void), welcome])
      assert.deepStrictEqual([drained.succeeded, drained.waiting], [8, 1])
      assert.isAtLeast(Duration.toMillis(drained.elapsed), 3_000)
      assert.isAtMost(Duration.toMillis(drained.elapsed), 4_000)
    }).pipe(Effect.provide(layerMemory)), 5_000)

  it.effect(
    "an endless loop, a handler without an end and a kind without a handler are errors that say so",
    () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const again = JobHandler.plain(Report, (payload) => Effect.asVoid(queue.enqueue(Report, payload)))
        yield* queue.enqueue(Report, { parts: [] })
        const loop = yield* Effect.flip(JobTest.drain([again], { maxAttempts: 100 }))
        assert.strictEqual(loop.message, "more than 100 attempts: do jobs enqueue each other?")
        const Endless = Job.make("endless", { payload: Schema.Void, timeout: "Infinity", queue: "shared" })
        yield* queue.enqueue(Endless, undefined)
        const hang = yield* Effect.flip(JobTest.drain([JobHandler.plain(Endless, () => Effect.never)]))
        assert.strictEqual(hang.message, "not over within 1h of virtual time")
        const Other = Job.make("other", { payload: Schema.Void, queue: "shared" })
        const kind = yield* Effect.flip(JobTest.drain([JobHandler.plain(Other, () => Effect.void)]))
        assert.include(kind.message, `of kind "endless" waits in queue "shared", and no handler was given for it`)
      }).pipe(Effect.provide(layerMemory)),
    10_000
  )
})

describe("JobTest.perform", () => {
  it.effect("runs one handler with a payload through its schema, and answers the verdict", () =>
    Effect.gen(function*() {
      let seen: Date | undefined
      const handler = JobHandler.plain(Welcome, ({ at, user }) => {
        seen = at
        return Effect.succeed(`hello ${user}`)
      })
      const at = new Date(1_000)
      const done = yield* JobTest.perform(handler, { user: 7, at })
      assert.deepStrictEqual(done, { _tag: "Succeeded", result: "hello 7" })
      // It went through JSON.
      assert.deepStrictEqual(seen, at)
      assert.notStrictEqual(seen, at)
      const wrong = yield* Effect.flip(JobTest.perform(handler, { user: 1.5 }))
      assert.strictEqual(wrong._tag, "JobPayloadInvalid")
    }))

  it.effect("tells each way to fail apart, by the attempt that it is", () =>
    Effect.gen(function*() {
      const failing = JobHandler.plain(Welcome, () => new Declined({ limit: 5 }))
      const first = yield* JobTest.perform(failing, { user: 1 }, { attempt: 2 })
      assert.isTrue(first._tag === "Retry" && Duration.toMillis(first.delay) === 2_000)
      const last = yield* JobTest.perform(failing, { user: 1 }, { attempt: 3 })
      assert.isTrue(last._tag === "Dead")
      if (last._tag === "Dead") {
        assert.deepStrictEqual([last.failure.reason, last.failure.message], ["Failed", `Declined {"limit":5}`])
        assert.deepStrictEqual(last.failure.error, { _tag: "Declined", limit: 5 })
      }
      const discard = JobHandler.plain(Welcome, () => Effect.fail(new JobDiscard({ detail: "gone" })))
      const discarded = yield* JobTest.perform(discard, { user: 1 })
      assert.deepStrictEqual(discarded, { _tag: "Dead", failure: { reason: "Discarded", message: "gone" } })
      const snooze = JobHandler.plain(Welcome, () => Effect.fail(new JobSnooze({ delayMillis: 5_000 })))
      assert.deepStrictEqual(yield* JobTest.perform(snooze, { user: 1 }), {
        _tag: "Snoozed",
        delay: Duration.seconds(5)
      })
      const dies = JobHandler.plain(Welcome, () => Effect.die(new Error("boom")))
      const died = yield* JobTest.perform(dies, { user: 1 })
      assert.isTrue(died._tag === "Retry" && died.failure.message === "Error: boom")
      const hangs = yield* JobTest.perform(JobHandler.plain(Welcome, () => Effect.never), { user: 1 })
      assert.isTrue(hangs._tag === "Retry" && hangs.failure.reason === "TimedOut")
      const stops = yield* JobTest.perform(JobHandler.plain(Welcome, () => Effect.interrupt), { user: 1 })
      assert.isTrue(stops._tag === "Retry" && stops.failure.reason === "Defect")
    }), 5_000)

  it.effect("a batch of one, and a handler that sleeps longer than the test", () =>
    Effect.gen(function*() {
      const batch = JobHandler.batch(Welcome, (items) => Effect.succeed(items.map(({ payload }) => `n${payload.user}`)))
      assert.deepStrictEqual(yield* JobTest.perform(batch, { user: 3 }), { _tag: "Succeeded", result: "n3" })
      const slow = JobHandler.plain(Welcome, () => Effect.delay(Effect.succeed("slow"), "59 seconds"))
      assert.deepStrictEqual(yield* JobTest.perform(slow, { user: 3 }), { _tag: "Succeeded", result: "slow" })
      assert.strictEqual(yield* millis, 59_000)
    }), 5_000)
})

describe("what is enqueued", () => {
  it.effect("is asserted by kind, payload, parts of it, a function, and options", () =>
    Effect.gen(function*() {
      const queue = yield* JobQueue
      const at = new Date(5)
      const id = yield* queue.enqueue(Welcome, { user: 1, at }, { delay: "1 hour", priority: 3, key: "k" })
      yield* queue.enqueue(Report, { parts: ["a", "b"] })
      assert.strictEqual((yield* JobTest.assertEnqueued(Welcome)).info.id, id)
      assert.deepStrictEqual((yield* JobTest.assertEnqueued(Welcome, { user: 1 })).payload, { user: 1, at })
      yield* JobTest.assertEnqueued(Welcome, { at: new Date(5) }, { delay: "60 minutes", priority: 3, key: "k" })
      yield* JobTest.assertEnqueued(Welcome, ({ user }) => user > 0, { state: "scheduled", queue: "mail.welcome" })
      yield* JobTest.assertEnqueued(Report, { parts: ["a", "b"] })
      yield* JobTest.refuteEnqueued(Welcome, { user: 2 })
      yield* JobTest.refuteEnqueued(Report, { parts: ["a"] })
      assert.deepStrictEqual((yield* JobTest.enqueued(Report)).map(({ payload }) => payload), [{ parts: ["a", "b"] }])
      yield* JobTest.drain([JobHandler.plain(Report, () => Effect.void)], { within: 0 })
      yield* JobTest.refuteEnqueued(Report)
    }).pipe(Effect.provide(layerMemory)))

  it.effect("the error says in what the closest job differs, and what else there is", () =>
    Effect.gen(function*() {
      const queue = yield* JobQueue
      const none = yield* Effect.flip(JobTest.assertEnqueued(Welcome, { user: 1 }))
      assert.strictEqual(
        none.message,
        `no job of kind "mail.welcome" with payload {"user":1} waits or runs\nthere are no jobs at all`
      )
      yield* queue.enqueueMany(Welcome, [{ user: 7 }, { user: 8 }], { delay: "1 minute" })
      yield* queue.enqueue(Welcome, { user: 9, at: new Date(0) }, { priority: 5 })
      yield* queue.enqueue(Report, { parts: ["a"] })
      yield* JobTest.drain([JobHandler.plain(Report, () => Effect.void)], { within: 0 })
      const wrong = yield* Effect.flip(
        JobTest.assertEnqueued(Welcome, { user: 2, at: new Date(0) }, { priority: 5, delay: "1 second" })
      )
      assert.deepStrictEqual(wrong.message.split("\n"), [
        `no job of kind "mail.welcome" with payload {"user":2,"at":1970-01-01T00:00:00.000Z} and {"priority":5,"delay":"1 second"} waits or runs`,
        "job 3 (mail.welcome, ready) is the closest:",
        "  payload.user: expected 2, is 9",
        `  delay: expected "1s", is "0"`,
        "there are: 2 mail.welcome scheduled, 1 mail.welcome ready, 1 report succeeded"
      ])
      const there = yield* Effect.flip(JobTest.refuteEnqueued(Welcome, { user: 7 }))
      assert.deepStrictEqual(there.message.split("\n"), [
        `1 job(s) of kind "mail.welcome" with payload {"user":7} wait or run, and none should:`,
        `  job 1 (mail.welcome, scheduled): {"user":7}`
      ])
    }).pipe(Effect.provide(layerMemory)))
})

describe("JobTest.fastForward", () => {
  it.effect("stops the clock where the effect ends, and fails at its limit", () =>
    Effect.gen(function*() {
      const value = yield* JobTest.fastForward(Effect.delay(Effect.succeed(1), "17 minutes"))
      assert.deepStrictEqual([value, yield* millis], [1, 1_020_000])
      const failed = yield* Effect.flip(JobTest.fastForward(Effect.delay(Effect.fail("mine"), "1 second")))
      assert.strictEqual(failed, "mine")
      let isReleased = false
      const never = Effect.onInterrupt(Effect.never, () => Effect.sync(() => void (isReleased = true)))
      const late = yield* Effect.flip(JobTest.fastForward(never, { within: "3 days" }))
      assert.strictEqual(late.message, "not over within 3d of virtual time")
      assert.isTrue(isReleased)
    }), 5_000)

  it.effect("lets promises that need no timer go on before time is moved", () =>
    Effect.gen(function*() {
      const raced = Effect.raceFirst(
        Effect.promise(() => {
          const { promise, resolve } = Promise.withResolvers<string>()
          // As long as something takes that the system does meanwhile.
          const turn = (left: number): unknown => left === 0 ? resolve("the promise") : setImmediate(turn, left - 1)
          turn(200)
          return promise
        }),
        Effect.delay(Effect.succeed("the clock"), "1 second")
      )
      assert.strictEqual(yield* JobTest.fastForward(raced), "the promise")
    }))

  it.effect("goes through a worker beside it: its beats, and retries by schedule", () =>
    Effect.gen(function*() {
      const queue = yield* JobQueue
      const id = yield* queue.enqueue(Welcome, { user: 1 }, { maxAttempts: 5 })
      const info = yield* JobTest.fastForward(queue.ended(id))
      assert.deepStrictEqual([info.state, info.attempt, yield* millis], ["dead", 5, 15_000])
    }).pipe(Effect.provide(
      Layer.provideMerge(Worker.layer([JobHandler.plain(Welcome, () => new Declined({ limit: 1 }))]), layerMemory)
    )), 5_000)

  it.effect("a schedule of hours is done in a moment", () =>
    Effect.gen(function*() {
      const last = yield* JobTest.fastForward(
        Effect.repeat(millis, { schedule: Schedule.spaced("1 hour"), times: 24 }),
        { within: "2 days" }
      )
      assert.strictEqual(last, 24 * 3_600_000)
      yield* TestClock.adjust(1)
    }), 5_000)
})
