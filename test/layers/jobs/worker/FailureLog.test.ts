/** A worker tells of each attempt that failed, on a line with fields; a storm of them is counted. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, References, Schedule, Schema } from "effect"
import { TestClock } from "effect/testing"
import { layerMemory } from "../../../../src/layers/jobs/MemoryJobQueue.ts"
import * as Worker from "../../../../src/layers/jobs/worker/Worker.ts"
import * as Job from "../../../../src/services/jobs/Job.ts"
import { JobDiscard, JobSnooze } from "../../../../src/services/jobs/JobError.ts"
import * as JobHandler from "../../../../src/services/jobs/JobHandler.ts"
import { JobQueue } from "../../../../src/services/jobs/JobQueue.ts"
import { JobWorker } from "../../../../src/services/jobs/JobWorker.ts"

interface Line {
  readonly level: string
  readonly text: string
  readonly fields: Readonly<Record<string, unknown>>
}

class HttpError extends Schema.TaggedError<HttpError>()("HttpError", { status: Schema.Int }) {}

const Call = Job.make("call", { payload: Schema.Int, retry: Schedule.spaced("4 seconds"), maxAttempts: 2 })

/** Collects what is logged while an effect runs with a worker of this handler. */
const logged = <A, E, R>(
  handler: JobHandler.Handler<never>,
  body: (lines: Array<Line>) => Effect.Effect<A, E, R | JobQueue | JobWorker>
) => {
  const lines: Array<Line> = []
  const logger = Logger.make(({ fiber, logLevel, message }) => {
    const text = [message].flat().map(String).join(" ")
    lines.push({ level: logLevel, text, fields: fiber.getRef(References.CurrentLogAnnotations) })
  })
  const services = Worker.layer([handler]).pipe(
    Layer.provideMerge(layerMemory),
    Layer.provideMerge(Logger.layer([logger]))
  )
  return Effect.provide(body(lines), services)
}

const idle = Effect.flatMap(JobWorker, (worker) => worker.idle)

describe("the log of failures", () => {
  it.effect("an attempt that failed is a warning that says when the next is, the last one an error", () =>
    logged(JobHandler.plain(Call, () => new HttpError({ status: 503 })), (lines) =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const id = yield* queue.enqueue(Call, 1)
        yield* idle
        assert.deepStrictEqual(lines.map(({ level, text }) => `${level} ${text}`), [
          `Warn jobs: call ${id}: attempt 1 of 2 failed, next in 4s: Failed: HttpError {"status":503}`
        ])
        const { trace, ...fields } = lines[0]?.fields ?? {}
        assert.deepStrictEqual(fields, {
          kind: "call",
          jobId: id,
          attempt: 1,
          maxAttempts: 2,
          reason: "Failed",
          nextRunMillis: 4_000
        })
        assert.include(String(trace), "FailureLog.test.ts")
        yield* TestClock.adjust("4 seconds")
        assert.strictEqual((yield* queue.ended(id)).state, "dead")
        assert.deepStrictEqual(lines.slice(1).map(({ level, text }) => `${level} ${text}`), [
          `Error jobs: call ${id}: attempt 2 of 2 failed, dead: Failed: HttpError {"status":503}`
        ])
        assert.notProperty(lines[1]?.fields, "nextRunMillis")
      })))

  it.effect("every way to fail is told, and nothing that is none", () => {
    const ways: ReadonlyArray<Effect.Effect<void, unknown>> = [
      Effect.fail(new JobDiscard({ detail: "pointless\nreally" })),
      Effect.die(new Error("boom")),
      Effect.never,
      Effect.void,
      Effect.fail(new JobSnooze({ delayMillis: 3_600_000 }))
    ]
    const handler = JobHandler.plain(Call, (n) => ways[n] ?? Effect.void)
    return logged(handler, (lines) =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const Old = Job.make("call", { payload: Schema.String })
        yield* queue.enqueueMany(Call, ways.map((_, n) => n), { maxAttempts: 1 })
        yield* queue.enqueue(Old, "of another shape")
        yield* TestClock.adjust("2 minutes")
        const told = lines.map(({ text }) => text.replace(/^jobs: call \d+: attempt 1 of \d+ failed, dead: /u, ""))
          .sort()
        assert.deepStrictEqual(told.slice(0, 3), [
          "Defect: Error: boom",
          "Discarded: pointless | really",
          told[2] ?? ""
        ])
        assert.match(told[2] ?? "", /^PayloadInvalid: /u)
        assert.deepStrictEqual(told.slice(3), ["TimedOut: Did not end within 1m"])
      }))
  })

  it.effect("a storm is twenty lines in ten seconds and a count of what was left out", () =>
    logged(JobHandler.plain(Call, () => Effect.fail("down")), (lines) =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        yield* queue.enqueueMany(Call, Array.from({ length: 500 }, (_, n) => n))
        yield* idle
        assert.strictEqual(lines.length, 20)
        // Their second attempts are in the same window.
        yield* TestClock.adjust("4 seconds")
        yield* idle
        assert.strictEqual(lines.length, 20)
        yield* TestClock.adjust("6 seconds")
        assert.deepStrictEqual(lines.slice(20).map(({ fields, text }) => [text, fields]), [[
          "jobs: call: 980 more attempts failed, 500 of the jobs are dead; not logged one by one",
          { kind: "call", leftOut: 980, dead: 500 }
        ]])
        yield* TestClock.adjust("1 hour")
        assert.strictEqual(lines.length, 21)
        yield* queue.enqueue(Call, 1)
        yield* idle
        assert.strictEqual(lines.length, 22)
      })))

  it.effect("the count of a window holds what fails until it is told", () =>
    logged(JobHandler.plain(Call, () => Effect.fail("down")), (lines) =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const fail = (count: number) =>
          Effect.andThen(queue.enqueueMany(Call, Array.from({ length: count }, (_, n) => n), { maxAttempts: 1 }), idle)
        yield* fail(1)
        yield* TestClock.adjust("5 seconds")
        yield* fail(30)
        // The window is over, its count will be told in three seconds.
        yield* TestClock.adjust("7 seconds")
        yield* fail(10)
        assert.strictEqual(lines.length, 20)
        yield* TestClock.adjust("3 seconds")
        assert.deepStrictEqual(lines.slice(20).map(({ fields }) => fields), [{ kind: "call", leftOut: 21, dead: 21 }])
      })))

  it.effect("what was left out is told when the worker leaves", () =>
    Effect.gen(function*() {
      const lines = yield* logged(JobHandler.plain(Call, () => Effect.fail("down")), (lines) =>
        Effect.gen(function*() {
          const queue = yield* JobQueue
          yield* queue.enqueueMany(Call, Array.from({ length: 30 }, (_, n) => n))
          yield* idle
          assert.strictEqual(lines.length, 20)
          return lines
        }))
      assert.strictEqual(lines.at(-1)?.text, "jobs: call: 10 more attempts failed; not logged one by one")
    }))
})
