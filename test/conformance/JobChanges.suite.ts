/** What every job storage does when operators change waiting jobs, and producers enqueue in the place of one. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, type Layer, Option, Schema, type Scope } from "effect"
import * as Job from "../../src/services/jobs/Job.ts"
import { JobAdmin } from "../../src/services/jobs/JobAdmin.ts"
import * as JobChange from "../../src/services/jobs/JobChange.ts"
import type { JobOptionInvalid, JobQueueError } from "../../src/services/jobs/JobError.ts"
import { JobQueue } from "../../src/services/jobs/JobQueue.ts"
import { type ClaimedJob, JobStore } from "../../src/services/jobs/JobStore.ts"
import type { Services } from "./JobQueue.suite.ts"

const N = Job.make("change", { payload: Schema.Int, maxAttempts: 3 })
const hour = 3_600_000
/** No job has it. */
const none = Job.JobId.make("999999")
const joining = { queues: ["change"], label: "t", leaseMillis: 60_000, beatMillis: 1_000 }
const done = (job: ClaimedJob) => ({ job, verdict: { _tag: "Succeeded", result: null, history: "full" } }) as const

const look = (id: Job.JobId) => Effect.map(Effect.flatMap(JobQueue, (queue) => queue.find(id)), Option.getOrThrow)

const countersOf = Effect.gen(function*() {
  const stats = (yield* (yield* JobAdmin).stats).find((row) => row.queue === N.queue)
  return [stats?.ready, stats?.scheduled, stats?.blocked, stats?.running, stats?.dead]
})

/** A worker that claims by hand. */
const hand = Effect.gen(function*() {
  const store = yield* JobStore
  const { worker } = yield* store.join(joining)
  let nth = 0
  return {
    claim: (limit: number) => Effect.suspend(() => store.claim(worker, ++nth, [{ queue: N.queue, limit }])),
    settle: (settlements: Parameters<JobStore["Service"]["settle"]>[1]) => store.settle(worker, settlements)
  }
})

export const suite = (name: string, layer: Layer.Layer<Services, unknown>) =>
  describe(`${name}: changes of waiting jobs`, () => {
    const test = (title: string, body: () => Effect.Effect<unknown, unknown, Services | Scope.Scope>) =>
      it.live(title, () => Effect.asVoid(Effect.provide(Effect.scoped(body()), layer)))

    test("run now: scheduled jobs and those that wait for their retry, and no others", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const admin = yield* JobAdmin
        const { claim, settle } = yield* hand
        const retried = yield* queue.enqueue(N, 0)
        const [job = assert.fail()] = yield* claim(1)
        yield* settle([{
          job,
          verdict: { _tag: "Retry", delayMillis: hour, failure: { reason: "Failed", message: "" } }
        }])
        const late = yield* queue.enqueue(N, 1, { delay: hour })
        const ready = yield* queue.enqueue(N, 2)
        assert.strictEqual((yield* admin.previewChange({ queue: N.queue }, JobChange.runNow)).matched, 2)
        assert.deepStrictEqual(yield* countersOf, [1, 2, 0, 0, 0])
        const changed = yield* admin.change({ queue: N.queue }, JobChange.runNow)
        assert.deepStrictEqual(changed, { ids: [retried, late], busy: 0, unchanged: [] })
        assert.deepStrictEqual(yield* countersOf, [3, 0, 0, 0, 0])
        assert.strictEqual((yield* look(retried)).attempt, 1)
        const named = yield* admin.change({ ids: [ready, none] }, JobChange.runNow)
        assert.deepStrictEqual(named.unchanged, [{ id: ready, state: "ready" }, {
          id: none,
          state: undefined
        }])
        assert.sameMembers((yield* claim(9)).map(({ id }) => id), [retried, late, ready])
      }))

    test("priority moves a job before others, and is bounded by the filter and its limit", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const admin = yield* JobAdmin
        const { claim } = yield* hand
        const [a = none, b = none, c = none, d = none] = yield* queue.enqueueMany(N, [1, 2, 3, 4])
        yield* admin.change({ ids: [c] }, JobChange.priority(7))
        assert.deepStrictEqual((yield* admin.change({ kind: N.name, limit: 1 }, JobChange.priority(-7))).ids, [a])
        assert.deepStrictEqual((yield* claim(9)).map(({ id }) => id), [c, b, d, a])
        assert.strictEqual((yield* look(c)).priority, 7)
        const running = yield* admin.change({ ids: [c] }, JobChange.priority(1))
        assert.deepStrictEqual([running.ids, running.unchanged], [[], [{ id: c, state: "running" }]])
      }))

    test("reschedule moves a job later, and earlier again", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const admin = yield* JobAdmin
        const { claim } = yield* hand
        const [a = none, b = none] = yield* queue.enqueueMany(N, [1, 2])
        yield* admin.change({ ids: [a] }, JobChange.reschedule({ delay: "1 hour" }))
        assert.deepStrictEqual(yield* countersOf, [1, 1, 0, 0, 0])
        assert.deepStrictEqual((yield* claim(9)).map(({ id }) => id), [b])
        const at = new Date("2040-01-02T03:04:05Z")
        yield* admin.change({ ids: [a] }, JobChange.reschedule({ runAt: at }))
        assert.strictEqual((yield* look(a)).runAt.getTime(), at.getTime())
        yield* admin.change({ ids: [a] }, JobChange.reschedule({ delay: 0 }))
        assert.deepStrictEqual((yield* claim(9)).map(({ id }) => id), [a])
      }))

    test("a job of a key that is put off or deleted lets the next through, and comes back behind it", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const admin = yield* JobAdmin
        const { claim, settle } = yield* hand
        const keyed = (n: number) => queue.enqueue(N, n, { key: "k" })
        const [a, b, c] = [yield* keyed(1), yield* keyed(2), yield* keyed(3)]
        assert.deepStrictEqual(yield* countersOf, [1, 0, 2, 0, 0])
        yield* admin.change({ ids: [a] }, JobChange.reschedule({ delay: hour }))
        assert.deepStrictEqual(yield* countersOf, [1, 1, 1, 0, 0])
        yield* admin.change({ ids: [b] }, JobChange.remove)
        assert.deepStrictEqual(yield* countersOf, [1, 1, 0, 0, 0])
        yield* admin.change({ ids: [a] }, JobChange.runNow)
        assert.strictEqual((yield* look(a)).state, "blocked")
        const [first = assert.fail()] = yield* claim(9)
        assert.strictEqual(first.id, c)
        yield* settle([done(first)])
        assert.deepStrictEqual((yield* claim(9)).map(({ id }) => id), [a])
      }))

    test("delete: waiting jobs, and dead letters when they are asked for; not what runs or has ended", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const admin = yield* JobAdmin
        const { claim, settle } = yield* hand
        const [dead = none, running = none, ended = none, waiting = none] = yield* queue.enqueueMany(N, [1, 2, 3, 4])
        const [one = assert.fail(), , three = assert.fail()] = yield* claim(3)
        yield* settle([
          { job: one, verdict: { _tag: "Dead", failure: { reason: "Failed", message: "" } } },
          done(three)
        ])
        const all = yield* admin.change({ queue: N.queue }, JobChange.remove)
        assert.deepStrictEqual([all.ids, all.busy], [[waiting], 0])
        assert.isTrue(Option.isNone(yield* queue.find(waiting)))
        const named = yield* admin.change({ ids: [dead, running, ended] }, JobChange.remove)
        assert.deepStrictEqual(named, {
          ids: [dead],
          busy: 0,
          unchanged: [{ id: running, state: "running" }, { id: ended, state: "succeeded" }]
        })
        assert.deepStrictEqual(yield* countersOf, [0, 0, 0, 1, 0])
        // A text of a job that is gone is free.
        const twin = yield* queue.enqueue(N, 1, { unique: "u" })
        yield* admin.change({ ids: [twin] }, JobChange.remove)
        assert.notStrictEqual(yield* queue.enqueue(N, 1, { unique: "u" }), twin)
      }))

    test("a change that means everything, or nonsense, is refused", () =>
      Effect.gen(function*() {
        const admin = yield* JobAdmin
        const wrong: ReadonlyArray<Effect.Effect<unknown, JobOptionInvalid | JobQueueError>> = [
          admin.change({}, JobChange.remove),
          admin.change({ queue: "q", limit: 10_001 }, JobChange.remove),
          admin.change({ queue: "q" }, JobChange.priority(1001)),
          admin.change({ queue: "q" }, JobChange.reschedule({ delay: -1 })),
          admin.previewChange({ queue: "q" }, JobChange.reschedule({ runAt: new Date(NaN) }))
        ]
        for (const one of wrong) assert.strictEqual((yield* Effect.flip(one))._tag, "JobOptionInvalid")
      }))

    test("keep, replace and debounce: what a second job with the text does to the first", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const { claim } = yield* hand
        const first = yield* queue.offer(N, 1, { unique: "u", priority: 1 })
        assert.strictEqual(first.outcome, "inserted")
        const { id } = first
        assert.deepStrictEqual(yield* queue.offer(N, 2, { unique: "u", delay: hour }), { id, outcome: "kept" })
        assert.deepStrictEqual([(yield* look(id)).payload, (yield* look(id)).state], [1, "ready"])

        const debounced = { unique: "u", whenUnique: "debounce", delay: hour, priority: 9 } as const
        assert.deepStrictEqual(yield* queue.offer(N, 3, debounced), { id, outcome: "replaced" })
        const moved = yield* look(id)
        assert.deepStrictEqual([moved.payload, moved.state, moved.priority], [1, "scheduled", 1])
        assert.closeTo(moved.runAt.getTime() - moved.enqueuedAt.getTime(), hour, 60_000)
        assert.deepStrictEqual(yield* countersOf, [0, 1, 0, 0, 0])

        const replacing = { unique: "u", whenUnique: "replace", priority: 5, maxAttempts: 7 } as const
        assert.deepStrictEqual(yield* queue.offer(N, 4, replacing), { id, outcome: "replaced" })
        const replaced = yield* look(id)
        assert.deepStrictEqual([replaced.payload, replaced.state, replaced.priority, replaced.maxAttempts], [
          4,
          "ready",
          5,
          7
        ])
        assert.deepStrictEqual(yield* countersOf, [1, 0, 0, 0, 0])
        assert.deepStrictEqual((yield* claim(9)).map((job) => [job.id, job.payload]), [[id, 4]])
      }))

    test("a job that runs lets go of its text: what came meanwhile is enqueued beside it, and behind it with a key", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const { claim, settle } = yield* hand
        const options = { unique: "u", whenUnique: "replace", key: "k" } as const
        const old = yield* queue.enqueue(N, 1, options)
        const [job = assert.fail()] = yield* claim(9)
        const young = yield* queue.offer(N, 2, options)
        assert.strictEqual(young.outcome, "inserted")
        assert.notStrictEqual(young.id, old)
        assert.strictEqual((yield* look(young.id)).state, "blocked")
        assert.deepStrictEqual(yield* queue.offer(N, 3, options), { id: young.id, outcome: "replaced" })
        assert.strictEqual((yield* look(young.id)).payload, 3)
        // The old one fails and waits for its retry: it still goes first.
        yield* settle([{ job, verdict: { _tag: "Retry", delayMillis: 0, failure: { reason: "Failed", message: "" } } }])
        const [again = assert.fail()] = yield* claim(9)
        assert.deepStrictEqual([again.id, again.payload], [old, 1])
        yield* settle([done(again)])
        assert.deepStrictEqual((yield* claim(9)).map(({ id, payload }) => [id, payload]), [[young.id, 3]])
      }))

    test("a job that waits for its retry is replaced with fresh attempts", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const { claim, settle } = yield* hand
        const options = { unique: "u", whenUnique: "replace" } as const
        const id = yield* queue.enqueue(N, 1, options)
        const [job = assert.fail()] = yield* claim(9)
        yield* settle([{
          job,
          verdict: { _tag: "Retry", delayMillis: hour, failure: { reason: "Failed", message: "" } }
        }])
        assert.deepStrictEqual(yield* queue.offer(N, 2, options), { id, outcome: "replaced" })
        assert.deepStrictEqual((yield* claim(9)).map(({ attempt, payload }) => [attempt, payload]), [[1, 2]])
      }))

    test("within one batch the last one stays, and a transaction that fails replaces nothing", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const { claim } = yield* hand
        const options = { unique: "u", whenUnique: "replace" } as const
        const ids = yield* queue.enqueueMany(N, [1, 2, 3], options)
        assert.strictEqual(new Set(ids).size, 1)
        const [id = assert.fail()] = ids
        assert.strictEqual((yield* look(id)).payload, 3)
        yield* Effect.flip(queue.transaction(Effect.andThen(queue.offer(N, 4, options), Effect.fail("no"))))
        assert.strictEqual((yield* look(id)).payload, 3)
        const [job = assert.fail()] = yield* claim(1)
        // It runs: the text goes to the new one, and comes back when that never was.
        yield* Effect.flip(queue.transaction(Effect.andThen(queue.offer(N, 5, options), Effect.fail("no"))))
        assert.deepStrictEqual(yield* queue.offer(N, 6, { unique: "u" }), { id: job.id, outcome: "kept" })
        assert.deepStrictEqual(yield* countersOf, [0, 0, 0, 1, 0])
      }))

    test("what is being replaced is claimed by nobody until the transaction ends", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const { claim } = yield* hand
        const options = { unique: "u", whenUnique: "replace" } as const
        const id = yield* queue.enqueue(N, 1, options)
        const offered = yield* Deferred.make<void>()
        const end = yield* Deferred.make<void>()
        const replacing = yield* Effect.forkChild(queue.transaction(
          Effect.andThen(
            queue.offer(N, 2, options),
            Effect.andThen(Deferred.succeed(offered, undefined), Deferred.await(end))
          )
        ))
        yield* Deferred.await(offered)
        assert.deepStrictEqual(yield* claim(9), [])
        yield* Deferred.succeed(end, undefined)
        yield* Fiber.join(replacing)
        assert.deepStrictEqual((yield* claim(9)).map((job) => [job.id, job.payload]), [[id, 2]])
      }))

    test("replacing and claiming at the same moment loses nothing: what was accepted last is run last", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const { claim, settle } = yield* hand
        const rounds = 60
        const ran: Array<unknown> = []
        const over = yield* Deferred.make<void>()
        const options = { unique: "u", whenUnique: "replace", key: "k" } as const
        const drain = Effect.gen(function*() {
          const jobs = yield* claim(3)
          ran.push(...jobs.map(({ payload }) => payload))
          yield* settle(jobs.map(done))
          return jobs.length
        })
        const consume = Effect.repeat(drain, { until: (n) => Effect.map(Deferred.isDone(over), (is) => is && n === 0) })
        const produce = Effect.ensuring(
          Effect.forEach(Array.from({ length: rounds }, (_, n) => n), (n) => queue.offer(N, n, options)),
          Deferred.succeed(over, undefined)
        )
        const [offers] = yield* Effect.all([produce, consume], { concurrency: 2 })
        const inserted = offers.filter(({ outcome }) => outcome === "inserted").length
        assert.strictEqual(ran.length, inserted)
        assert.strictEqual(ran.at(-1), rounds - 1)
        assert.deepStrictEqual([...ran], ran.toSorted((a, b) => Number(a) - Number(b)))
        assert.deepStrictEqual(yield* countersOf, [0, 0, 0, 0, 0])
      }))
  })
