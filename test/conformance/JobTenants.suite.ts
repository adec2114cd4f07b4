/** What every job storage does with the tenants of a queue: those that wait take turns. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Layer, Option, Schema, type Scope } from "effect"
import * as Job from "../../src/services/jobs/Job.ts"
import { JobAdmin } from "../../src/services/jobs/JobAdmin.ts"
import * as JobChange from "../../src/services/jobs/JobChange.ts"
import * as JobFlow from "../../src/services/jobs/JobFlow.ts"
import { JobQueue } from "../../src/services/jobs/JobQueue.ts"
import { type ClaimedJob, JobStore } from "../../src/services/jobs/JobStore.ts"
import type { Services } from "./JobQueue.suite.ts"

const T = Job.make("tenants", { payload: Schema.String })
const joining = { queues: ["tenants"], label: "t", leaseMillis: 60_000, beatMillis: 1_000 }
const done = (job: ClaimedJob) => ({ job, verdict: { _tag: "Succeeded", result: null, history: "full" } }) as const
const failure = { reason: "Failed", message: "" } as const

/** `a1` to `a<count>`. */
const many = (name: string, count: number) => Array.from({ length: count }, (_, n) => `${name}${n + 1}`)
const enqueue = (tenant: string, count: number, options: object = {}) =>
  Effect.flatMap(JobQueue, (queue) => queue.enqueueMany(T, many(tenant, count), { tenant, ...options }))

/** A worker that claims by hand; `next` are the payloads of what it gets, best first. */
const hand = Effect.gen(function*() {
  const store = yield* JobStore
  const { worker } = yield* store.join(joining)
  let nth = 0
  const claim = (limit: number) => Effect.suspend(() => store.claim(worker, ++nth, [{ queue: T.queue, limit }]))
  return {
    claim,
    next: (limit: number) => Effect.map(claim(limit), (jobs) => jobs.map(({ payload }) => payload).join(" ")),
    settle: (settlements: Parameters<JobStore["Service"]["settle"]>[1]) => store.settle(worker, settlements)
  }
})

export const suite = (name: string, layer: Layer.Layer<Services | JobFlow.JobFlows, unknown>) =>
  describe(`${name}: tenants`, () => {
    const test = (
      title: string,
      body: () => Effect.Effect<unknown, unknown, Services | JobFlow.JobFlows | Scope.Scope>
    ) => it.live(title, () => Effect.asVoid(Effect.provide(Effect.scoped(body()), layer)))

    test("those that wait take turns, each in its own order", () =>
      Effect.gen(function*() {
        const { next } = yield* hand
        yield* enqueue("a", 4)
        yield* enqueue("b", 3)
        for (const n of [1, 2]) {
          const queue = yield* JobQueue
          yield* queue.enqueue(T, `c${n}`, { tenant: "c" })
        }
        assert.strictEqual(yield* next(20), "a1 b1 c1 a2 b2 c2 a3 b3 a4")
      }))

    test("many that wait hold up neither a late tenant of few nor jobs without a tenant", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const { next } = yield* hand
        yield* enqueue("a", 10_000)
        yield* next(3_000)
        yield* enqueue("b", 10)
        const first = (yield* next(21)).split(" ")
        assert.deepStrictEqual(first.filter((job) => job.startsWith("b")), many("b", 10))
        assert.strictEqual(first.filter((job) => job.startsWith("a")).length, 11)
        // And who comes again and again has a turn in each round.
        for (let round = 1; round <= 3; round++) {
          yield* enqueue("b", 1)
          assert.include(["a b1", "b1 a"], (yield* next(2)).replace(/a\d+/u, "a"))
        }
        yield* queue.enqueue(T, "-")
        let seen = false
        for (let n = 0; n < 6_000 && !seen; n++) seen = (yield* next(1)) === "-"
        assert.isTrue(seen)
      }))

    test("what a tenant had is not held against it when nothing of it waits", () =>
      Effect.gen(function*() {
        const { next } = yield* hand
        yield* enqueue("a", 100)
        yield* next(100)
        yield* enqueue("c", 3)
        yield* enqueue("a", 3)
        assert.strictEqual(yield* next(20), "c1 a1 c2 a2 c3 a3")
      }))

    test("jobs of a key keep their order, whosever they are, and get a turn when they are let through", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const { claim, settle } = yield* hand
        yield* enqueue("a", 5)
        yield* queue.enqueue(T, "k1", { tenant: "a", key: "k" })
        yield* queue.enqueue(T, "k2", { tenant: "b", key: "k" })
        yield* queue.enqueue(T, "k3", { key: "k", priority: -1 })
        yield* enqueue("b", 2)
        const ran: Array<unknown> = []
        for (let n = 0; n < 10; n++) {
          const [job = assert.fail()] = yield* claim(1)
          ran.push(job.payload)
          yield* settle([done(job)])
        }
        assert.deepStrictEqual(ran, ["a1", "b1", "a2", "b2", "a3", "a4", "a5", "k1", "k2", "k3"])
        yield* enqueue("a", 3)
        yield* queue.enqueueMany(T, many("x", 3), { tenant: "b", key: "x" })
        yield* queue.enqueueMany(T, many("y", 3), { tenant: "b", key: "y" })
        const [a1, b1, a2, b2] = yield* claim(4)
        assert.deepStrictEqual([a1, b1, a2, b2].map((job) => job?.payload), ["a1", "x1", "a2", "y1"])
      }))

    test("priority counts among all, and within a tenant", () =>
      Effect.gen(function*() {
        const { next } = yield* hand
        yield* enqueue("a", 3)
        yield* enqueue("a", 2, { priority: 1 })
        yield* enqueue("b", 2)
        yield* enqueue("c", 1, { priority: 2 })
        assert.strictEqual(yield* next(20), "c1 a1 a2 a1 b1 a2 b2 a3")
      }))

    test("a turn stays with a job that is given back or changed, and goes with its time", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const admin = yield* JobAdmin
        const { claim, next, settle } = yield* hand
        const a = yield* enqueue("a", 5)
        const ids = (at: number) => a.slice(at, at + 1)
        yield* enqueue("b", 5)
        const [a1 = assert.fail(), b1 = assert.fail()] = yield* claim(2)
        yield* settle([
          { job: a1, verdict: { _tag: "Released", delayMillis: 0 } },
          { job: b1, verdict: { _tag: "Retry", delayMillis: 3_600_000, failure } }
        ])
        yield* admin.change({ ids: ids(2) }, JobChange.priority(0))
        yield* admin.change({ ids: ids(3) }, JobChange.reschedule({ delay: "1 hour" }))
        // One that was claimed before is no measure for those that begin.
        yield* enqueue("c", 1)
        // While claims are slow, what was given back may be seen a second later than the others.
        const rest = (yield* next(20)).split(" ")
        assert.include(rest, "a1")
        assert.deepStrictEqual(rest.filter((job) => job !== "a1").join(" "), "a2 b2 c1 a3 b3 b4 a5 b5")
        yield* admin.change({ ids: [...ids(3), b1.id] }, JobChange.runNow)
        assert.sameMembers((yield* next(20)).split(" "), ["a4", "b1"])
        yield* queue.enqueue(T, "u", { tenant: "a", unique: "u" })
        yield* enqueue("b", 1)
        yield* queue.enqueue(T, "v", { tenant: "a", unique: "u", whenUnique: "replace" })
        assert.strictEqual(yield* next(20), "v b1")
      }))

    test("children of a flow take turns, and a tenant is shown wherever its job is", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const admin = yield* JobAdmin
        const { claim, settle } = yield* hand
        const children = many("a", 3).map((payload) => JobFlow.node(T, payload, { tenant: "a" }))
        const { id: root } = yield* (yield* JobFlow.JobFlows).enqueue(
          JobFlow.node(T, "root", { children, tenant: "a", whenChildFails: "ignore" })
        )
        yield* enqueue("b", 2)
        const tenantOf = (id: Job.JobId) =>
          Effect.map(
            queue.find(id),
            (info) => Option.map(info, ({ state, tenant }) => [state, tenant]).pipe(Option.getOrThrow)
          )
        const jobs = yield* claim(20)
        assert.deepStrictEqual(jobs.map(({ payload }) => payload), ["a1", "b1", "a2", "b2", "a3"])
        const [first = assert.fail(), second = assert.fail(), third = assert.fail(), , fifth = assert.fail()] = jobs
        assert.deepStrictEqual(yield* tenantOf(root), ["waiting", "a"])
        assert.deepStrictEqual(yield* tenantOf(first.id), ["running", "a"])
        yield* settle([done(first)])
        yield* settle([
          { job: second, verdict: { _tag: "Dead", failure } },
          { job: third, verdict: { _tag: "Cancelled" } },
          { job: fifth, verdict: { _tag: "Succeeded", result: "1", history: "full" } }
        ])
        const states = yield* Effect.forEach([first, second, third, fifth], ({ id }) => tenantOf(id))
        assert.deepStrictEqual(states, [["succeeded", "a"], ["dead", "b"], ["cancelled", "a"], ["succeeded", "a"]])
        assert.deepStrictEqual(yield* tenantOf(root), ["ready", "a"])
        yield* admin.redrive({ ids: [second.id] })
        assert.deepStrictEqual(yield* tenantOf(second.id), ["ready", "b"])
        yield* queue.cancel(second.id)
        assert.deepStrictEqual(yield* tenantOf(second.id), ["cancelled", "b"])
        assert.deepStrictEqual((yield* admin.list({ limit: 2 })).jobs.map(({ tenant }) => tenant), ["b", "b"])
      }))
  })
