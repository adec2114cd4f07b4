/** What every job storage keeps of attempts that failed. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Layer, Option, Schedule, Schema, type Scope } from "effect"
import * as Worker from "../../src/layers/jobs/worker/Worker.ts"
import * as Job from "../../src/services/jobs/Job.ts"
import { JobAdmin } from "../../src/services/jobs/JobAdmin.ts"
import * as JobHandler from "../../src/services/jobs/JobHandler.ts"
import { JobQueue } from "../../src/services/jobs/JobQueue.ts"
import { JobStore, type Verdict } from "../../src/services/jobs/JobStore.ts"
import type { Services } from "./JobQueue.suite.ts"

class HttpError extends Schema.TaggedError<HttpError>()("HttpError", { status: Schema.Int, body: Schema.String }) {}

const Call = Job.make("call", {
  payload: Schema.Int,
  success: Schema.String,
  error: HttpError,
  retry: Schedule.forever,
  maxAttempts: 4
})

const quick = { beat: "50 millis", lease: "600 millis", poll: "100 millis", drainGrace: "300 millis" } as const

const infoOf = (id: Job.JobId) => Effect.flatMap(JobQueue, (queue) => Effect.map(queue.find(id), Option.getOrThrow))

/** Claims one job again and again and settles it with these verdicts. */
const settled = Effect.fnUntraced(function*(verdicts: ReadonlyArray<Verdict>) {
  const queue = yield* JobQueue
  const store = yield* JobStore
  const id = yield* queue.enqueue(Call, 1, { maxAttempts: 1_000 })
  const { worker } = yield* store.join({ queues: [], label: "test", leaseMillis: 60_000, beatMillis: 1_000 })
  let nth = 0
  for (const verdict of verdicts) {
    const [job] = yield* store.claim(worker, ++nth, [{ queue: "call", limit: 1 }])
    assert.strictEqual(job?.id, id)
    if (job !== undefined) yield* store.settle(worker, [{ job, verdict }])
  }
  return id
})

const retry = (message: string): Verdict => ({ _tag: "Retry", delayMillis: 0, failure: { reason: "Failed", message } })

export const suite = (name: string, layer: Layer.Layer<Services, unknown>) =>
  describe(name, () => {
    const test = (title: string, body: () => Effect.Effect<unknown, unknown, Services | Scope.Scope>) =>
      it.live(title, () => Effect.asVoid(Effect.provide(Effect.scoped(body()), layer)))

    test("the failures of all attempts are kept with their numbers, times, fields and typed errors", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const admin = yield* JobAdmin
        const id = yield* queue.enqueue(Call, 1)
        const info = yield* queue.ended(id).pipe(Effect.provide(Worker.layer([
          JobHandler.plain(Call, (_, { attempt }) => new HttpError({ status: 500 + attempt, body: "boom" }))
        ], quick)))
        assert.strictEqual(info.state, "dead")
        assert.deepStrictEqual(info.failures.map(({ attempt, reason }) => [attempt, reason]), [
          [1, "Failed"],
          [2, "Failed"],
          [3, "Failed"],
          [4, "Failed"]
        ])
        assert.deepStrictEqual(
          info.failures.map(({ error }) => error),
          [1, 2, 3, 4].map((n) => ({ _tag: "HttpError", status: 500 + n, body: "boom" }))
        )
        assert.strictEqual(info.failures[1]?.message, `HttpError {"status":502,"body":"boom"}`)
        assert.include(info.failures[1]?.trace ?? "", "JobFailures.suite.ts")
        const times = info.failures.map(({ at }) => at.getTime())
        assert.deepStrictEqual(times, times.toSorted((a, b) => a - b))
        assert.isAtLeast(times[0] ?? 0, info.enqueuedAt.getTime() - 1)
        assert.deepStrictEqual(info.failure, info.failures[3] ?? null)
        const { jobs: [listed] } = yield* admin.list({ state: "dead" })
        assert.deepStrictEqual(listed, info)
        assert.strictEqual((yield* admin.preview({ reason: "Failed" })).matched, 1)
      }))

    test("a job that succeeds in the end keeps its failures, and has failed no more; so does one that is cancelled", () =>
      Effect.gen(function*() {
        const bare: Verdict = { _tag: "Succeeded", result: null, history: "full" }
        for (const ending of [bare, { ...bare, result: `"ok"` }, { ...bare, history: "outcome" as const }]) {
          const done = yield* infoOf(yield* settled([retry("one"), retry("two"), ending]))
          assert.deepStrictEqual([done.state, done.attempt, done.failure], ["succeeded", 3, null])
          assert.deepStrictEqual(done.failures.map(({ attempt, message }) => [attempt, message]), [[1, "one"], [
            2,
            "two"
          ]])
        }
        const cancelled = yield* infoOf(yield* settled([retry("one"), { _tag: "Cancelled" }]))
        assert.deepStrictEqual([cancelled.state, cancelled.failure?.message], ["cancelled", "one"])
      }))

    test("what is given back and what waits is no failure; a job that runs again still tells why it failed", () =>
      Effect.gen(function*() {
        const id = yield* settled([{ _tag: "Released", delayMillis: 0 }, retry("one"), {
          _tag: "Released",
          delayMillis: 0
        }])
        const info = yield* infoOf(id)
        assert.deepStrictEqual([info.state, info.attempt, info.failures.length], ["ready", 1, 1])
        assert.strictEqual(info.failure?.message, "one")
      }))

    test("a redriven dead letter keeps the failures from before", () =>
      Effect.gen(function*() {
        const admin = yield* JobAdmin
        const dead: Verdict = { _tag: "Dead", failure: { reason: "Discarded", message: "pointless" } }
        const id = yield* settled([retry("one"), dead])
        yield* admin.redrive({ ids: [id] })
        const info = yield* infoOf(id)
        assert.deepStrictEqual([info.state, info.attempt], ["ready", 0])
        assert.deepStrictEqual(info.failures.map(({ message, reason }) => `${reason} ${message}`), [
          "Failed one",
          "Discarded pointless"
        ])
      }))

    test("a job whose cancellation was asked for while it failed keeps that failure", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const store = yield* JobStore
        const id = yield* queue.enqueue(Call, 1)
        const { worker } = yield* store.join({ queues: [], label: "test", leaseMillis: 60_000, beatMillis: 1_000 })
        const [job] = yield* store.claim(worker, 1, [{ queue: "call", limit: 1 }])
        assert.strictEqual(yield* queue.cancel(id), "requested")
        if (job !== undefined) yield* store.settle(worker, [{ job, verdict: retry("too late") }])
        const info = yield* infoOf(id)
        assert.deepStrictEqual([info.state, info.failures.map(({ message }) => message)], ["cancelled", ["too late"]])
      }))

    test("ten failures are kept, and no more bytes than 16 KiB of them unless one alone has more", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const after = (verdicts: ReadonlyArray<Verdict>) =>
          Effect.gen(function*() {
            const id = yield* settled(verdicts)
            const info = yield* infoOf(id)
            // Out of the way of the next one's claims.
            yield* queue.cancel(id)
            return info
          })
        const many = yield* after(Array.from({ length: 14 }, (_, n) => retry(`no ${n + 1}`)))
        assert.deepStrictEqual(many.failures.map(({ attempt }) => attempt), [5, 6, 7, 8, 9, 10, 11, 12, 13, 14])
        // 4,000 letters of two bytes each.
        const long = yield* after([1, 2, 3, 4, 5].map((n) => retry(`${n}${"é".repeat(4_000)}`)))
        assert.deepStrictEqual(long.failures.map(({ attempt }) => attempt), [4, 5])
        const failure = { reason: "Failed", message: "huge", error: "x".repeat(100_000) } as const
        const huge = yield* after([retry("small"), { _tag: "Retry", delayMillis: 0, failure }])
        assert.deepStrictEqual(huge.failures.map(({ message }) => message), ["huge"])
        assert.strictEqual(huge.failure?.error, failure.error)
      }))

    test("what JSON can hold and a text of the database cannot is kept as it is", () =>
      Effect.gen(function*() {
        const error = { why: `a\u0000b "c" \\u0000 {"reason":"TimedOut"} \u2028` }
        const failure = { reason: "Defect", message: `", "reason":"TimedOut"`, trace: "at\n  b", error } as const
        const id = yield* settled([{ _tag: "Retry", delayMillis: 0, failure }, { _tag: "Dead", failure }])
        const info = yield* infoOf(id)
        assert.deepStrictEqual(
          info.failures.map(({ error, message, reason, trace }) => ({ reason, message, trace, error })),
          [failure, failure]
        )
        assert.strictEqual((yield* (yield* JobAdmin).preview({ reason: "Defect" })).matched, 1)
        assert.strictEqual((yield* (yield* JobAdmin).preview({ reason: "TimedOut" })).matched, 0)
      }))
  })
