/** What every job storage does. Run on real time: short leases and polls, and receipts instead of sleeps. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Option, Queue, Result, Schedule, Schema, type Scope, Stream } from "effect"
import * as Worker from "../../src/layers/jobs/worker/Worker.ts"
import * as Job from "../../src/services/jobs/Job.ts"
import { JobAdmin } from "../../src/services/jobs/JobAdmin.ts"
import * as JobCron from "../../src/services/jobs/JobCron.ts"
import { JobDiscard, JobLeaseLost, JobSnooze } from "../../src/services/jobs/JobError.ts"
import * as JobHandler from "../../src/services/jobs/JobHandler.ts"
import { JobQueue } from "../../src/services/jobs/JobQueue.ts"
import { type JobRecords, JobStore } from "../../src/services/jobs/JobStore.ts"
import { JobWorker, type WorkerOptions } from "../../src/services/jobs/JobWorker.ts"

export type Services = JobStore | JobRecords | JobQueue | JobAdmin

const Add = Job.make("add", {
  payload: Schema.Struct({ n: Schema.Int }),
  success: Schema.Int,
  error: Schema.Struct({ why: Schema.String }),
  retry: Schedule.spaced("1 millis"),
  maxAttempts: 3
})

const quick: WorkerOptions = {
  beat: "50 millis",
  lease: "600 millis",
  poll: "100 millis",
  drainGrace: "300 millis"
}

/** Runs an effect beside a worker with these handlers. */
const working = <const H extends ReadonlyArray<JobHandler.Handler<unknown>>, A, E, R>(
  handlers: H,
  effect: Effect.Effect<A, E, R>,
  options: WorkerOptions = {}
) => Effect.provide(effect, Worker.layer(handlers, { ...quick, ...options }))

const idle = Effect.flatMap(JobWorker, (worker) => worker.idle)

const noBeat = { alive: true, deadWorkers: 0, lost: [], isDue: false, nextDueMillis: undefined }

/** The ids of jobs to cancel, of a store that is broken in a way no type forbids. */
const deadlyList = new Proxy<ReadonlyArray<Job.JobId>>([], {
  get: () => {
    throw new Error("a defect of the store")
  }
})

const payloads = (count: number) => Array.from({ length: count }, (_, n) => ({ n }))

const statsOf = (queue: string) =>
  Effect.gen(function*() {
    const admin = yield* JobAdmin
    const stats = (yield* admin.stats).find((row) => row.queue === queue)
    return stats ?? assert.fail(`no counters of ${queue}`)
  })

export const suite = (name: string, layer: Layer.Layer<Services, unknown>) =>
  describe(name, () => {
    const test = (title: string, body: () => Effect.Effect<unknown, unknown, Services | Scope.Scope>) =>
      it.live(title, () => Effect.asVoid(Effect.provide(Effect.scoped(body()), layer)))

    test("runs a job and keeps its result", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const id = yield* queue.enqueue(Add, { n: 41 })
        assert.strictEqual(Option.getOrThrow(yield* queue.find(id)).state, "ready")
        const info = yield* working(
          [JobHandler.plain(Add, ({ n }) => Effect.succeed(n + 1))],
          queue.ended(id)
        )
        assert.deepStrictEqual([info.state, info.result, info.attempt, info.payload], ["succeeded", 42, 1, { n: 41 }])
        assert.isAtLeast(info.finishedAt?.getTime() ?? 0, info.startedAt?.getTime() ?? Infinity)
      }))

    test("enqueues in the caller's transaction", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const undone = yield* queue.transaction(
          Effect.andThen(queue.enqueue(Add, { n: 1 }), (id) => Effect.fail(id))
        ).pipe(Effect.flip)
        if (typeof undone !== "string") throw new Error("not the id")
        assert.isTrue(Option.isNone(yield* queue.find(undone)))
        const ids = yield* queue.transaction(queue.enqueueMany(Add, payloads(3)))
        assert.strictEqual(ids.length, 3)
        assert.strictEqual((yield* statsOf("add")).ready, 3)
      }))

    test("refuses a payload that does not fit, and enqueues none of its batch", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const error = yield* Effect.flip(queue.enqueueMany(Add, [{ n: 1 }, { n: 1.5 }]))
        assert.strictEqual(error._tag, "JobPayloadInvalid")
        assert.isUndefined((yield* (yield* JobAdmin).stats).find((row) => row.queue === "add" && row.ready > 0))
      }))

    test("retries by schedule, then dead-letters with the typed error", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const attempts: Array<number> = []
        const id = yield* queue.enqueue(Add, { n: 1 })
        const info = yield* working([
          JobHandler.plain(Add, (_, { attempt }) => {
            attempts.push(attempt)
            return Effect.fail({ why: "no" })
          })
        ], queue.ended(id))
        assert.deepStrictEqual(attempts, [1, 2, 3])
        assert.strictEqual(info.state, "dead")
        assert.strictEqual(info.failure?.reason, "Failed")
        assert.deepStrictEqual(info.failure?.error, { why: "no" })
        const stats = yield* statsOf("add")
        assert.deepStrictEqual([stats.dead, stats.retried, stats.running, stats.ready], [1, 2, 0, 0])
      }))

    test("a defect, a discard, a snooze and a timeout are told apart", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const Slow = Job.make("slow", {
          payload: Schema.Struct({ n: Schema.Int }),
          timeout: "50 millis",
          maxAttempts: 1
        })
        let snoozed = 0
        const handlers = [
          JobHandler.plain(Add, ({ n }, { attempt }) => {
            if (n === 1) return Effect.die("boom")
            if (n === 2) return Effect.fail(new JobDiscard({ detail: "pointless" }))
            return snoozed++ === 0 ? Effect.fail(new JobSnooze({ delayMillis: 20 })) : Effect.succeed(attempt)
          }),
          JobHandler.plain(Slow, () => Effect.never)
        ]
        yield* working(
          handlers,
          Effect.gen(function*() {
            const [defect, discard, snooze] = yield* Effect.all([1, 2, 3].map((n) => queue.enqueue(Add, { n })))
            const slow = yield* queue.enqueue(Slow, { n: 0 })
            const ends = yield* Effect.forEach(
              [defect, discard, snooze, slow],
              (id) => id === undefined ? Effect.die("no id") : queue.ended(id)
            )
            assert.deepStrictEqual(ends.map((info) => info.failure?.reason), [
              "Defect",
              "Discarded",
              undefined,
              "TimedOut"
            ])
            // The snoozed attempt was not counted.
            assert.strictEqual(ends[2]?.result, 1)
            assert.strictEqual(ends[1]?.attempt, 1)
          })
        )
      }))

    test("a payload of an older shape is dead-lettered with its decode error and holds up nobody", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const Old = Job.make("add", { payload: Schema.Struct({ number: Schema.String }) })
        const bad = yield* queue.enqueue(Old, { number: "one" })
        const good = yield* queue.enqueue(Add, { n: 1 })
        yield* working(
          [JobHandler.batch(Add, (items) => Effect.succeed(items.map((item) => item.payload.n)))],
          Effect.gen(function*() {
            assert.strictEqual((yield* queue.ended(good)).state, "succeeded")
            const info = yield* queue.ended(bad)
            assert.strictEqual(info.failure?.reason, "PayloadInvalid")
            assert.include(info.failure?.message ?? "", "n")
          })
        )
      }))

    test("runs higher priorities first, equal ones in order", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const order: Array<number> = []
        yield* queue.enqueueMany(Add, [{ n: 1 }, { n: 2 }])
        yield* queue.enqueue(Add, { n: 3 }, { priority: 10 })
        yield* queue.enqueue(Add, { n: 4 }, { priority: -10 })
        yield* queue.enqueue(Add, { n: 5 })
        yield* working([JobHandler.plain(Add, ({ n }) => Effect.sync(() => order.push(n)))], idle, { concurrency: 1 })
        assert.deepStrictEqual(order, [3, 1, 2, 5, 4])
      }))

    test("a delayed job is run, and not before its time", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        yield* working(
          [JobHandler.plain(Add, () => Effect.succeed(0))],
          Effect.gen(function*() {
            const id = yield* queue.enqueue(Add, { n: 1 }, { delay: "150 millis" })
            assert.strictEqual(Option.getOrThrow(yield* queue.find(id)).state, "scheduled")
            const info = yield* queue.ended(id)
            const waited = (info.startedAt?.getTime() ?? 0) - info.enqueuedAt.getTime()
            assert.isAtLeast(waited, 149)
          })
        )
      }))

    test("a unique job that is live answers the first id, also within one batch", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const Once = Job.make("once", { payload: Schema.Struct({ n: Schema.Int }), unique: ({ n }) => `n${n}` })
        const [a, b, c] = yield* queue.enqueueMany(Once, [{ n: 1 }, { n: 2 }, { n: 1 }])
        assert.isTrue(a !== undefined && a === c && a !== b)
        assert.strictEqual(yield* queue.enqueue(Once, { n: 1 }), a)
        yield* working([JobHandler.plain(Once, () => Effect.void)], idle)
        assert.notStrictEqual(yield* queue.enqueue(Once, { n: 1 }), a)
      }))

    test("jobs of one key run in order, one at a time, and do not hold up other keys", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const Keyed = Job.make("keyed", {
          payload: Schema.Struct({ key: Schema.String, n: Schema.Int }),
          key: ({ key }) => key
        })
        const gate = yield* Deferred.make<void>()
        const ran: Array<string> = []
        yield* queue.enqueueMany(Keyed, [1, 2, 3].map((n) => ({ key: "a", n })))
        yield* queue.enqueueMany(Keyed, [1, 2, 3].map((n) => ({ key: "b", n })))
        yield* working(
          [JobHandler.plain(Keyed, ({ key, n }) =>
            Effect.gen(function*() {
              if (key === "a" && n === 1) yield* Deferred.await(gate)
              ran.push(`${key}${n}`)
              if (key === "b" && n === 3) yield* Deferred.succeed(gate, undefined)
            }))],
          idle
        )
        assert.deepStrictEqual(ran, ["b1", "b2", "b3", "a1", "a2", "a3"])
        const stats = yield* statsOf("keyed")
        assert.deepStrictEqual([stats.succeeded, stats.blocked, stats.ready], [6, 0, 0])
      }))

    test("a key's concurrency is a limit that is reached and not passed", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const Pair = Job.make("pair", { payload: Schema.Struct({ n: Schema.Int }), key: () => "k", keyConcurrency: 2 })
        yield* queue.enqueueMany(Pair, payloads(12))
        let now = 0
        let most = 0
        const both = yield* Deferred.make<void>()
        yield* working(
          [JobHandler.plain(Pair, () =>
            Effect.gen(function*() {
              most = Math.max(most, ++now)
              if (now === 2) yield* Deferred.succeed(both, undefined)
              yield* Deferred.await(both)
              now--
            }))],
          idle
        )
        assert.strictEqual(most, 2)
      }))

    test("a paused queue yields nothing until it is resumed", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const admin = yield* JobAdmin
        let ran = 0
        yield* admin.pause("add")
        const ids = yield* queue.enqueueMany(Add, payloads(5))
        yield* working(
          [JobHandler.plain(Add, () => Effect.sync(() => ++ran))],
          Effect.gen(function*() {
            yield* idle
            assert.strictEqual(ran, 0)
            assert.isTrue((yield* statsOf("add")).paused)
            yield* admin.resume("add")
            yield* Effect.forEach(ids, queue.ended)
            assert.strictEqual(ran, 5)
          })
        )
      }))

    test("a rate limits claims over time", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const admin = yield* JobAdmin
        yield* admin.setRate("add", 20)
        const ids = yield* queue.enqueueMany(Add, payloads(30))
        const starts: Array<number> = []
        yield* working(
          [JobHandler.plain(Add, () => Effect.sync(() => starts.push(performance.now())))],
          Effect.forEach(ids, queue.ended, { concurrency: "unbounded" })
        )
        // A burst of 20, and the other 10 at 20 per second.
        assert.isAtLeast((starts.at(-1) ?? 0) - (starts[0] ?? 0), 400)
      }))

    test("cancels a waiting job, a running one, and leaves an ended one", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const waiting = yield* queue.enqueue(Add, { n: 1 }, { delay: "1 hour" })
        assert.strictEqual(yield* queue.cancel(waiting), "cancelled")
        const started = yield* Deferred.make<void>()
        const interrupted = yield* Deferred.make<void>()
        const running = yield* queue.enqueue(Add, { n: 2 })
        yield* working(
          [JobHandler.plain(Add, () =>
            Effect.andThen(Deferred.succeed(started, undefined), Effect.never).pipe(
              Effect.onInterrupt(() => Deferred.succeed(interrupted, undefined))
            ))],
          Effect.gen(function*() {
            yield* Deferred.await(started)
            assert.strictEqual(yield* queue.cancel(running), "requested")
            yield* Deferred.await(interrupted)
            assert.strictEqual((yield* queue.ended(running)).state, "cancelled")
          })
        )
        assert.strictEqual(yield* queue.cancel(running), "finished")
        assert.strictEqual((yield* statsOf("add")).cancelled, 2)
        const missing = yield* Effect.flip(queue.cancel(Job.JobId.make("987654321")))
        assert.strictEqual(missing._tag, "JobNotFound")
      }))

    test("redrives dead letters: preview first, then at a rate", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const admin = yield* JobAdmin
        let broken = true
        const ids = yield* queue.enqueueMany(Add, payloads(3), { maxAttempts: 1 })
        yield* working(
          [JobHandler.plain(Add, ({ n }) => broken ? Effect.fail({ why: "down" }) : Effect.succeed(n))],
          Effect.gen(function*() {
            yield* idle
            const preview = yield* admin.preview({ queue: "add", reason: "Failed" })
            assert.strictEqual(preview.matched, 3)
            assert.strictEqual((yield* admin.preview({ reason: "TimedOut" })).matched, 0)
            broken = false
            assert.sameMembers([...(yield* admin.redrive({ queue: "add" }, { ratePerSecond: 20 }))], [...ids])
            const ends = yield* Effect.forEach(ids, queue.ended)
            assert.isTrue(ends.every((info) => info.state === "succeeded" && info.attempt === 1))
            const due = ends.map((info) => info.runAt.getTime()).sort((a, b) => a - b)
            assert.isAtLeast((due[2] ?? 0) - (due[0] ?? 0), 99)
            assert.strictEqual((yield* statsOf("add")).dead, 0)
          })
        )
      }))

    test("a failing transactional handler leaves nothing, and its neighbours in the group everything", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const Next = Job.make("next", { payload: Schema.Int })
        yield* queue.enqueueMany(Add, payloads(50), { maxAttempts: 1 })
        yield* working(
          [JobHandler.transactional(Add, ({ n }) =>
            Effect.andThen(queue.enqueue(Next, n), n === 17 ? Effect.fail({ why: "17" }) : Effect.succeed(n)))],
          idle
        )
        assert.deepStrictEqual([(yield* statsOf("add")).succeeded, (yield* statsOf("add")).dead], [49, 1])
        const { jobs: next } = yield* (yield* JobAdmin).list({ queue: "next", limit: 100 })
        assert.sameMembers(
          next.map((info) =>
            info.payload
          ),
          payloads(50).map(({ n }) => n).filter((n) => n !== 17)
        )
      }))

    test("a batch handler gets many at once, and one by one when the batch fails", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const Next = Job.make("next", { payload: Schema.Int })
        const sizes: Array<number> = []
        const ids = yield* queue.enqueueMany(Add, payloads(40), { maxAttempts: 1 })
        yield* working(
          [JobHandler.batch(Add, (items) =>
            Effect.gen(function*() {
              sizes.push(items.length)
              yield* queue.enqueueMany(Next, items.map((item) => item.payload.n))
              if (items.some((item) => item.payload.n === 3)) return yield* Effect.fail({ why: "3" })
              return items.map((item) => item.payload.n * 2)
            }))],
          idle
        )
        assert.strictEqual(sizes[0], 40)
        assert.strictEqual(sizes.filter((size) => size === 1).length, 40)
        const last = ids[39]
        assert.strictEqual(last === undefined ? 0 : (yield* queue.ended(last)).result, 78)
        assert.deepStrictEqual([(yield* statsOf("add")).succeeded, (yield* statsOf("next")).ready], [39, 39])
      }))

    test("a batch that settles first is undone as a whole when it fails, and keeps no results", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const Next = Job.make("next", { payload: Schema.Int })
        const ids = yield* queue.enqueueMany(Add, payloads(20), { maxAttempts: 1 })
        yield* working(
          [JobHandler.batch(Add, (items) =>
            Effect.gen(function*() {
              yield* queue.enqueueMany(Next, items.map((item) => item.payload.n))
              if (items.some((item) => item.payload.n === 3)) return yield* Effect.fail({ why: "3" })
              return items.map((item) => item.payload.n * 2)
            }), { settle: "first" })],
          idle
        )
        const last = ids[19]
        assert.isNull(last === undefined ? 0 : (yield* queue.ended(last)).result)
        const stats = yield* statsOf("add")
        assert.deepStrictEqual([stats.succeeded, stats.dead, (yield* statsOf("next")).ready], [19, 1, 19])
      }))

    test("a settle after the lease is lost is refused, and its transaction undone", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const store = yield* JobStore
        const joining = { queues: ["add"], label: "t", leaseMillis: 60_000, beatMillis: 1000 }
        const [a, b] = yield* Effect.all([store.join(joining), store.join(joining)])
        const Next = Job.make("next", { payload: Schema.Int })
        yield* queue.enqueue(Add, { n: 1 })
        const [first] = yield* store.claim(a.worker, 1, [{ queue: "add", limit: 5 }])
        if (first === undefined) throw new Error("nothing claimed")
        assert.strictEqual(
          yield* store.settle(a.worker, [{ job: first, verdict: { _tag: "Released", delayMillis: 0 } }]),
          0
        )
        const [second] = yield* store.claim(b.worker, 1, [{ queue: "add", limit: 5 }])
        // Same job, same attempt (the first was given back): the worker is part of the fence.
        assert.deepStrictEqual([second?.id, second?.attempt], [first.id, 1])
        const done = { job: first, verdict: { _tag: "Succeeded", result: null, history: "full" } } as const
        assert.strictEqual(yield* store.settle(a.worker, [done]), 1)
        const zombie = yield* Effect.flip(store.transact(
          Effect.andThen(queue.enqueue(Next, 1), store.settleAll(a.worker, [done]))
        ))
        assert.instanceOf(zombie, JobLeaseLost)
        assert.isUndefined((yield* (yield* JobAdmin).stats).find((row) => row.queue === "next" && row.ready > 0))
        if (second === undefined) throw new Error("nothing claimed")
        assert.strictEqual(yield* store.settle(b.worker, [{ ...done, job: second }]), 0)
      }))

    test("a drain gives back what runs and what waits, and counts no attempt", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const started = yield* Queue.unbounded<number>()
        yield* queue.enqueueMany(Add, payloads(10))
        yield* working(
          [JobHandler.plain(Add, ({ n }) => Effect.andThen(Queue.offer(started, n), Effect.never))],
          Effect.gen(function*() {
            yield* Queue.takeN(started, 3)
            yield* (yield* JobWorker).drain
          }),
          { concurrency: 3 }
        )
        const { jobs } = yield* (yield* JobAdmin).list({ queue: "add" })
        assert.strictEqual(jobs.length, 10)
        assert.isTrue(jobs.every((info) => info.state === "ready" && info.attempt === 0))
        const stats = yield* statsOf("add")
        assert.deepStrictEqual([stats.ready, stats.running, stats.retried], [10, 0, 0])
      }))

    test("a drain lets handlers finish within its grace", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const started = yield* Deferred.make<void>()
        const go = yield* Deferred.make<void>()
        const id = yield* queue.enqueue(Add, { n: 1 })
        yield* working(
          [JobHandler.plain(
            Add,
            ({ n }) => Effect.as(Effect.andThen(Deferred.succeed(started, undefined), Deferred.await(go)), n)
          )],
          Effect.gen(function*() {
            yield* Deferred.await(started)
            const draining = yield* Effect.forkChild(Effect.flatMap(JobWorker, (worker) => worker.drain))
            yield* Deferred.succeed(go, undefined)
            yield* Fiber.join(draining)
          }),
          { drainGrace: "5 seconds" }
        )
        assert.strictEqual((yield* queue.ended(id)).state, "succeeded")
      }))

    test("jobs of a worker that no longer beats are taken over, with the attempt counted", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const store = yield* JobStore
        const ids = yield* queue.enqueueMany(Add, payloads(3))
        const gone = yield* store.join({ queues: ["add"], label: "gone", leaseMillis: 200, beatMillis: 50 })
        assert.strictEqual((yield* store.claim(gone.worker, 1, [{ queue: "add", limit: 5 }])).length, 3)
        const ends = yield* working(
          [JobHandler.plain(Add, (_, { attempt }) => Effect.succeed(attempt))],
          Effect.forEach(ids, queue.ended)
        )
        assert.deepStrictEqual(ends.map((info) => [info.state, info.result]), ids.map(() => ["succeeded", 2]))
        assert.isFalse((yield* gone.beat).alive)
      }))

    test("a session that dies by a defect is followed by another, and what it held is given back", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const store = yield* JobStore
        const begun = yield* Queue.unbounded<Job.Attempt>()
        const isBegun = yield* Deferred.make<void>()
        let joins = 0
        const deadly = JobStore.of({
          ...store,
          join: (options) =>
            Effect.map(store.join(options), (member) =>
              joins++ > 0 ? member : {
                ...member,
                beat: Effect.andThen(Deferred.await(isBegun), Effect.succeed({ ...noBeat, cancelled: deadlyList }))
              })
        })
        const ids = yield* queue.enqueueMany(Add, payloads(10))
        const handler = JobHandler.plain(Add, ({ n }, attempt) =>
          Effect.andThen(Queue.offer(begun, attempt), joins === 1 ? Effect.never : Effect.succeed(n)))
        const ends = yield* Effect.provide(
          Effect.gen(function*() {
            yield* Queue.takeN(begun, 2)
            yield* Deferred.succeed(isBegun, undefined)
            const infos = yield* Effect.forEach(ids, queue.ended)
            yield* idle
            const status = yield* (yield* JobWorker).status
            assert.deepStrictEqual([status.running, status.buffered], [0, 0])
            return infos
          }),
          Layer.provide(
            Worker.layer([handler], { ...quick, concurrency: 2, maxClaim: 10 }),
            Layer.succeed(JobStore, deadly)
          )
        )
        assert.strictEqual(joins, 2)
        // What had begun has spent an attempt, as if the worker had died; what had not has not.
        assert.isTrue(ends.every((info) =>
          info.state === "succeeded"
        ))
        const attempts = ends.map((info) => info.attempt).sort((a, b) => a - b)
        assert.deepStrictEqual(attempts, [1, 1, 1, 1, 1, 1, 1, 1, 2, 2])
        assert.deepInclude(yield* statsOf("add"), { ready: 0, running: 0, succeeded: 10, retried: 2 })
      }))

    test("a cron ticks once over all workers", () =>
      Effect.gen(function*() {
        const Tick = Job.make("tick", { payload: Schema.Int })
        const crons = [Result.getOrThrow(JobCron.make("each-second", "* * * * * *", Tick, 1))]
        const at = yield* Queue.unbounded<number>()
        const handler = JobHandler.plain(Tick, (_, attempt) => Queue.offer(at, attempt.enqueuedAt.getTime()))
        const worker = Worker.layer([handler], { ...quick, crons })
        const ticks = yield* Effect.provide(
          Queue.takeN(at, 3),
          Layer.mergeAll(Layer.fresh(worker), Layer.fresh(worker), Layer.fresh(worker))
        )
        const seconds = ticks.map((millis) => Math.floor(millis / 1000))
        assert.strictEqual(new Set(seconds).size, 3, String(seconds))
        assert.strictEqual((yield* statsOf("tick")).succeeded + (yield* statsOf("tick")).running, 3)
      }))

    test("of two timetables of one name that of the newer worker holds, also when that has left and come again", () =>
      Effect.gen(function*() {
        const store = yield* JobStore
        const joining = { queues: [], label: "t", leaseMillis: 60_000, beatMillis: 1_000 }
        const entryOf = (signature: string, everyMillis: number) => {
          const Tick = Job.make(`cron.${signature}`, { payload: Schema.Null })
          const made = Result.getOrThrow(JobCron.make("shared", "* * * * * *", Tick, null))
          // The next multiple of its time.
          return { ...made, signature, next: (after: number) => (Math.floor(after / everyMillis) + 1) * everyMillis }
        }
        const [old, young] = [entryOf("old", 250), entryOf("young", 200)]
        const first = yield* store.join(joining)
        const ticked = { old: 0, young: 0 }
        const round = (workers: ReadonlyArray<readonly [number, "old" | "young"]>, times: number) =>
          Effect.repeat(
            Effect.forEach(workers, ([worker, which]) =>
              Effect.map(store.tick(worker, [which === "old" ? old : young]), (n) => void (ticked[which] += n))),
            { times, schedule: Schedule.spaced(25) }
          )
        yield* round([[first.worker, "old"]], 20)
        assert.isAtLeast(ticked.old, 1)
        // A deployment: both beat in turn, and neither resets the other.
        const before = ticked.old
        yield* Effect.scoped(Effect.gen(function*() {
          const second = yield* store.join(joining)
          yield* round([[second.worker, "young"], [first.worker, "old"]], 40)
          assert.isAtLeast(ticked.young, 3)
          assert.isAtMost(ticked.old - before, 1)
        }))
        // It has left: the other goes on.
        const after = ticked.old
        yield* round([[first.worker, "old"]], 30)
        assert.isAtLeast(ticked.old - after, 1)
        // Who is no member has no timetable.
        assert.strictEqual(yield* store.tick(999_999, [{ ...old, name: "other" }]), 0)
      }))

    test("tells what ends, live", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const Tick = Job.make("tick", { payload: Schema.Int })
        const heard = yield* Deferred.make<void>()
        const listening = yield* queue.events.pipe(
          Stream.tap(() => Deferred.succeed(heard, undefined)),
          Stream.filter((event) => event.kind === Add.name),
          Stream.take(4),
          Stream.runCollect,
          Effect.forkChild
        )
        yield* working(
          [
            JobHandler.plain(Add, ({ n }) => n === 0 ? Effect.fail({ why: "0" }) : Effect.succeed(n)),
            JobHandler.plain(Tick, () => Effect.void)
          ],
          Effect.gen(function*() {
            // The stream begins with what ends after it was opened: that it tells of a tick is the receipt.
            while (!(yield* Deferred.isDone(heard))) yield* Effect.flatMap(queue.enqueue(Tick, 1), queue.ended)
            yield* queue.enqueueMany(Add, payloads(4), { maxAttempts: 1 })
            const events = yield* Fiber.join(listening)
            assert.sameMembers(Array.from(events, (event) => event.state), [
              "dead",
              "succeeded",
              "succeeded",
              "succeeded"
            ])
          })
        )
      }))

    test("a kind nobody here knows is given back unspent", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const Other = Job.make("other", { payload: Schema.Int, queue: "add" })
        const id = yield* queue.enqueue(Other, 1)
        const known = yield* queue.enqueue(Add, { n: 1 })
        yield* working([JobHandler.plain(Add, ({ n }) => Effect.succeed(n))], Effect.andThen(queue.ended(known), idle))
        const info = Option.getOrThrow(yield* queue.find(id))
        assert.deepStrictEqual([info.state, info.attempt], ["scheduled", 0])
      }))

    test("a wait for a job that leaves no trace ends with its success", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const Traceless = Job.make("traceless", { payload: Schema.Boolean, history: "none", maxAttempts: 1 })
        const gate = yield* Deferred.make<void>()
        const handler = JobHandler.plain(
          Traceless,
          (isGood) => Effect.andThen(Deferred.await(gate), isGood ? Effect.void : Effect.fail("no"))
        )
        const [good = assert.fail(), bad = assert.fail()] = yield* queue.enqueueMany(Traceless, [true, false])
        yield* working(
          [handler],
          Effect.gen(function*() {
            const waiting = yield* Effect.forkChild(
              Effect.forEach([good, bad], queue.ended, { concurrency: 2 }),
              { startImmediately: true }
            )
            // Both have been seen.
            yield* Effect.forEach([good, bad], queue.find)
            yield* Deferred.succeed(gate, undefined)
            const infos = yield* Fiber.join(waiting)
            assert.deepStrictEqual(infos.map(({ id, state }) => [id, state]), [[good, "succeeded"], [bad, "dead"]])
          })
        )
        assert.strictEqual((yield* Effect.flip(queue.ended(good)))._tag, "JobNotFound")
      }))

    test("a handler that cannot be interrupted does not keep its worker from closing", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const started = yield* Deferred.make<void>()
        const end = yield* Deferred.make<void>()
        const id = yield* queue.enqueue(Add, { n: 1 })
        const handler = JobHandler.plain(Add, ({ n }) =>
          Effect.uninterruptible(
            Effect.as(Effect.andThen(Deferred.succeed(started, undefined), Deferred.await(end)), n)
          ))
        // It goes on only when its worker has closed.
        yield* working([handler], Deferred.await(started), { drainGrace: "50 millis" })
        // As after the death of a worker: it runs again, elsewhere.
        const info = Option.getOrThrow(yield* queue.find(id))
        assert.deepStrictEqual([info.state, info.attempt, info.failure?.reason], ["ready", 1, "WorkerLost"])
        yield* Deferred.succeed(end, undefined)
      }))

    test("counters equal the rows, whatever happens", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const admin = yield* JobAdmin
        const ids = yield* queue.enqueueMany(Add, payloads(200), { maxAttempts: 2 })
        yield* queue.enqueueMany(Add, payloads(10), { delay: "1 hour" })
        yield* working(
          [JobHandler.batch(
            Add,
            (items) => items.some(({ payload }) => payload.n % 10 === 0) ? Effect.fail({ why: "tens" }) : Effect.void
          )],
          Effect.gen(function*() {
            yield* Effect.forEach(ids.slice(190), (id) => queue.cancel(id), { concurrency: 4 })
            yield* Effect.forEach(ids, queue.ended, { concurrency: 20 })
          })
        )
        const stats = yield* statsOf("add")
        const count = (state: Job.JobState) =>
          Effect.map(admin.list({ queue: "add", state, limit: 1000 }), ({ jobs }) => jobs.length)
        for (const state of ["ready", "scheduled", "blocked", "running", "succeeded", "dead", "cancelled"] as const) {
          assert.strictEqual(stats[state], yield* count(state), state)
        }
        assert.strictEqual(stats.succeeded + stats.dead + stats.cancelled + stats.scheduled, 210)
      }))
  })
