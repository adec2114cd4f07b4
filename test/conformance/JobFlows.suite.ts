/** What every job storage does with flows: parents that wait for their children. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Layer, Option, Result, Schedule, Schema, type Scope } from "effect"
import * as Worker from "../../src/layers/jobs/worker/Worker.ts"
import * as Job from "../../src/services/jobs/Job.ts"
import { JobAdmin } from "../../src/services/jobs/JobAdmin.ts"
import * as JobChange from "../../src/services/jobs/JobChange.ts"
import * as JobFlow from "../../src/services/jobs/JobFlow.ts"
import * as JobHandler from "../../src/services/jobs/JobHandler.ts"
import { JobQueue } from "../../src/services/jobs/JobQueue.ts"
import { type ClaimedJob, JobStore, type Verdict } from "../../src/services/jobs/JobStore.ts"
import type { WorkerOptions } from "../../src/services/jobs/JobWorker.ts"
import type { Services } from "./JobQueue.suite.ts"

type FlowServices = Services | JobFlow.JobFlows

const Part = Job.make("flow.part", { payload: Schema.Int, success: Schema.Int, queue: "flow", maxAttempts: 2 })
const Whole = Job.make("flow.whole", {
  payload: Schema.String,
  success: Schema.Array(Schema.Int),
  queue: "flow",
  maxAttempts: 1
})
const quick: WorkerOptions = { poll: "100 millis", beat: "50 millis", lease: "600 millis" }
const joining = { queues: ["flow"], label: "t", leaseMillis: 60_000, beatMillis: 1_000 }
const failure = { reason: "Failed", message: "no" } as const
const dead: Verdict = { _tag: "Dead", failure }
const well = (result: number): Verdict => ({ _tag: "Succeeded", result: String(result), history: "full" })
const bare: Verdict = { _tag: "Succeeded", result: null, history: "full" }
const none = Job.JobId.make("999999")

const parts = (...payloads: ReadonlyArray<number>) => payloads.map((n) => JobFlow.node(Part, n))
const look = (id: Job.JobId) => Effect.map(Effect.flatMap(JobQueue, (queue) => queue.find(id)), Option.getOrThrow)
const stateOf = (id: Job.JobId) => Effect.map(look(id), ({ state }) => state)
const statesOf = (ids: ReadonlyArray<Job.JobId>) => Effect.forEach(ids, stateOf)

const countersOf = Effect.gen(function*() {
  const stats = (yield* (yield* JobAdmin).stats).find((row) => row.queue === "flow")
  return [stats?.ready, stats?.scheduled, stats?.blocked, stats?.waiting, stats?.running, stats?.dead]
})

/** A worker that claims by hand, and ends what it holds as it is told. */
const hand = Effect.gen(function*() {
  const store = yield* JobStore
  const member = yield* store.join(joining)
  let nth = 0
  const held = new Map<Job.JobId, ClaimedJob>()
  const claim = Effect.suspend(() => store.claim(member.worker, ++nth, [{ queue: "flow", limit: 1000 }])).pipe(
    Effect.map((jobs) => {
      for (const job of jobs) held.set(job.id, job)
      return jobs.map(({ id }) => id)
    })
  )
  const end = (id: Job.JobId, verdict: Verdict) =>
    Effect.suspend(() => {
      const job = held.get(id) ?? assert.fail(`${id} is not held`)
      return Effect.map(store.settle(member.worker, [{ job, verdict }]), (lost) => assert.strictEqual(lost, 0))
    })
  const tend = Effect.flatMap(member.beat, (beat) => member.tend(beat.lost, true))
  return { claim, end, tend, worker: member.worker, held }
})

/** A parent of two, and their ids. */
const pair = (whenChildFails: JobFlow.WhenChildFails, options: JobFlow.NodeOptions = {}) =>
  Effect.gen(function*() {
    const flows = yield* JobFlow.JobFlows
    const { children: [a, b], id } = yield* flows.enqueue(
      JobFlow.node(Whole, "w", { ...options, whenChildFails, children: parts(1, 2) })
    )
    return { parent: id, a: a?.id ?? none, b: b?.id ?? none }
  })

export const suite = (name: string, layer: Layer.Layer<FlowServices, unknown>) =>
  describe(`${name}: flows`, () => {
    const test = (title: string, body: () => Effect.Effect<unknown, unknown, FlowServices | Scope.Scope>) =>
      it.live(title, () => Effect.asVoid(Effect.provide(Effect.scoped(body()), layer)))

    test("a live job of a flow is cancelled, and not deleted", () =>
      Effect.gen(function*() {
        const admin = yield* JobAdmin
        const { a, b, parent } = yield* pair("fail")
        const changed = yield* admin.change({ ids: [a, b, parent] }, JobChange.remove)
        assert.deepStrictEqual(changed, {
          ids: [],
          busy: 0,
          unchanged: [{ id: a, state: "ready" }, { id: b, state: "ready" }, { id: parent, state: "waiting" }]
        })
        assert.strictEqual((yield* admin.previewChange({ queue: "flow" }, JobChange.remove)).matched, 0)
      }))

    test("children tell why they failed last, which attempt that was, and nothing when they have succeeded since", () =>
      Effect.gen(function*() {
        const flows = yield* JobFlow.JobFlows
        const queue = yield* JobQueue
        const { claim, end } = yield* hand
        const { a, b, parent } = yield* pair("ignore")
        const failures = Effect.map(flows.children(parent), (children) =>
          children.map(({ failure }) => failure && [failure.attempt, failure.reason, failure.message]))
        yield* claim
        yield* end(a, { _tag: "Retry", delayMillis: 0, failure })
        yield* end(b, { _tag: "Retry", delayMillis: 0, failure })
        assert.deepStrictEqual(yield* failures, [[1, "Failed", "no"], [1, "Failed", "no"]])
        yield* claim
        yield* end(a, well(1))
        yield* end(b, { _tag: "Retry", delayMillis: 3_600_000, failure: { reason: "TimedOut", message: "late" } })
        yield* queue.cancel(b)
        assert.deepStrictEqual(yield* failures, [null, [2, "TimedOut", "late"]])
        const { failure: last, failures: all } = yield* look(b)
        assert.deepStrictEqual([last, all.length], [(yield* flows.children(parent))[1]?.failure, 2])
        assert.strictEqual(yield* stateOf(parent), "ready")
      }))

    test("a parent runs when all below it have succeeded, with their results, over three levels", () =>
      Effect.gen(function*() {
        const flows = yield* JobFlow.JobFlows
        const queue = yield* JobQueue
        const order: Array<string> = []
        const add = (name: string, attempt: Job.Attempt) =>
          Effect.gen(function*() {
            order.push(name)
            const children = yield* flows.children(attempt.id)
            const own = yield* JobFlow.results(Part, children)
            const below = yield* JobFlow.results(Whole, children)
            return [...own, ...below.flat()]
          })
        const ids = yield* flows.enqueue(JobFlow.node(Whole, "top", {
          children: [
            JobFlow.node(Whole, "left", { children: parts(1, 2, 3) }),
            JobFlow.node(Part, 10),
            JobFlow.node(Whole, "right", { children: parts(4) })
          ]
        }))
        assert.deepStrictEqual(yield* countersOf, [5, 0, 0, 3, 0, 0])
        const left = ids.children[0]?.id ?? none
        assert.strictEqual((yield* look(left)).parent, ids.id)
        assert.deepStrictEqual(
          (yield* flows.children(left)).map(({ state }) =>
            state
          ),
          ["ready", "ready", "ready"]
        )
        const ended = yield* Effect.provide(
          queue.ended(ids.id),
          Worker.layer([
            JobHandler.plain(Part, (n) => Effect.succeed(n * n)),
            JobHandler.transactional(Whole, add)
          ], quick)
        )
        assert.deepStrictEqual(ended.result, [100, 1, 4, 9, 16])
        assert.strictEqual(order.at(-1), "top")
        assert.strictEqual((yield* look(ids.children[0]?.children[0]?.id ?? none)).parent, left)
        // They are forgotten with the end of their parent.
        assert.deepStrictEqual(yield* flows.children(ids.id), [])
        assert.deepStrictEqual(yield* countersOf, [0, 0, 0, 0, 0, 0])
      }))

    test("a child that fails an attempt is waited for; the last success makes the parent due in the same moment", () =>
      Effect.gen(function*() {
        const { a, b, parent } = yield* pair("fail")
        const { claim, end } = yield* hand
        assert.deepStrictEqual(yield* claim, [a, b])
        yield* end(a, bare)
        yield* end(b, { _tag: "Retry", delayMillis: 0, failure })
        assert.strictEqual(yield* stateOf(parent), "waiting")
        assert.deepStrictEqual(yield* claim, [b])
        yield* end(b, well(2))
        assert.deepStrictEqual(yield* countersOf, [1, 0, 0, 0, 0, 0])
        assert.deepStrictEqual(yield* claim, [parent])
        const flows = yield* JobFlow.JobFlows
        assert.deepStrictEqual(
          (yield* flows.children(parent)).map(({ id, result, state }) => [id, state, result]),
          [[a, "succeeded", null], [b, "succeeded", 2]]
        )
        // A parent that fails has its children's results again.
        yield* end(parent, { _tag: "Retry", delayMillis: 0, failure })
        assert.deepStrictEqual(yield* claim, [parent])
        assert.strictEqual((yield* flows.children(parent)).length, 2)
      }))

    test("a delay and a key of the parent begin when its children have ended", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const { claim, end } = yield* hand
        const first = yield* queue.enqueue(Whole, "first", { key: "k" })
        const late = yield* pair("fail", { delay: "1 hour" })
        const keyed = yield* pair("fail", { key: "k" })
        const claimed = yield* claim
        assert.sameMembers([...claimed], [first, late.a, late.b, keyed.a, keyed.b])
        for (const id of [late.a, late.b, keyed.a, keyed.b]) yield* end(id, bare)
        assert.deepStrictEqual(yield* statesOf([late.parent, keyed.parent]), ["scheduled", "blocked"])
        yield* end(first, bare)
        assert.strictEqual(yield* stateOf(keyed.parent), "ready")
      }))

    test("fail: a dead child makes its parent dead, and theirs; the other children go on", () =>
      Effect.gen(function*() {
        const flows = yield* JobFlow.JobFlows
        const { claim, end } = yield* hand
        const tree = yield* flows.enqueue(JobFlow.node(Whole, "top", {
          children: [JobFlow.node(Whole, "middle", { children: parts(1, 2) })]
        }))
        const middle = tree.children[0]?.id ?? none
        const [a = none, b = none] = yield* claim
        yield* end(a, dead)
        assert.deepStrictEqual(yield* statesOf([a, middle, tree.id, b]), ["dead", "dead", "dead", "running"])
        const { failure } = yield* look(middle)
        assert.deepInclude(failure, { reason: "ChildFailed", message: `Its child ${a} (flow.part) is dead` })
        yield* end(b, bare)
        assert.deepStrictEqual(yield* countersOf, [0, 0, 0, 0, 0, 3])
      }))

    test("redriving the dead child revives those above it, and the flow goes on", () =>
      Effect.gen(function*() {
        const flows = yield* JobFlow.JobFlows
        const admin = yield* JobAdmin
        const { claim, end } = yield* hand
        const tree = yield* flows.enqueue(JobFlow.node(Whole, "top", {
          children: [JobFlow.node(Whole, "middle", { children: parts(1, 2, 3) })]
        }))
        const middle = tree.children[0]?.id ?? none
        const [a = none, b = none, c = none] = yield* claim
        yield* end(a, dead)
        yield* end(b, dead)
        yield* end(c, well(3))
        // One of two is not enough.
        yield* admin.redrive({ ids: [a] })
        assert.deepStrictEqual(yield* statesOf([a, middle, tree.id]), ["ready", "dead", "dead"])
        yield* admin.redrive({ ids: [b] })
        assert.deepStrictEqual(yield* statesOf([b, middle, tree.id]), ["ready", "waiting", "waiting"])
        assert.deepStrictEqual(yield* countersOf, [2, 0, 0, 2, 0, 0])
        assert.deepStrictEqual(yield* claim, [a, b])
        yield* end(a, well(1))
        yield* end(b, well(2))
        assert.deepStrictEqual(yield* claim, [middle])
        const children = yield* flows.children(middle)
        assert.deepStrictEqual(yield* JobFlow.results(Part, children), [1, 2, 3])
        yield* end(middle, bare)
        assert.deepStrictEqual(yield* claim, [tree.id])
      }))

    test("a redrive of all dead of a flow, and of a parent alone", () =>
      Effect.gen(function*() {
        const admin = yield* JobAdmin
        const { claim, end } = yield* hand
        const { a, b, parent } = yield* pair("fail")
        yield* claim
        yield* end(a, dead)
        yield* end(b, bare)
        assert.deepStrictEqual(yield* admin.redrive({ queue: "flow" }), [a, parent])
        assert.deepStrictEqual(yield* statesOf([a, parent]), ["ready", "waiting"])
        yield* claim
        yield* end(a, dead)
        assert.strictEqual(yield* stateOf(parent), "dead")
        // Whoever redrives only the parent wants it to run with what there is.
        yield* admin.redrive({ ids: [parent] })
        assert.deepStrictEqual(yield* claim, [parent])
        const flows = yield* JobFlow.JobFlows
        assert.deepStrictEqual((yield* flows.children(parent)).map(({ state }) => state), ["dead", "succeeded"])
        yield* end(parent, dead)
        yield* admin.redrive({ ids: [parent] })
        assert.strictEqual(yield* stateOf(parent), "ready")
      }))

    test("ignore and continue: a parent that runs although a child failed", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const flows = yield* JobFlow.JobFlows
        const { claim, end } = yield* hand
        const ignored = yield* pair("ignore")
        const continued = yield* pair("continue")
        yield* claim
        yield* end(ignored.a, dead)
        yield* end(continued.a, dead)
        assert.deepStrictEqual(yield* statesOf([ignored.parent, continued.parent]), ["waiting", "ready"])
        assert.deepStrictEqual(yield* claim, [continued.parent])
        yield* end(continued.parent, bare)
        // Nobody waits for it any more.
        yield* end(continued.b, bare)
        assert.strictEqual(yield* queue.cancel(ignored.b), "requested")
        yield* end(ignored.b, { _tag: "Cancelled" })
        assert.deepStrictEqual(yield* claim, [ignored.parent])
        assert.deepStrictEqual(
          (yield* flows.children(ignored.parent)).map(({ failure, state }) => [state, failure?.reason]),
          [["dead", "Failed"], ["cancelled", undefined]]
        )
      }))

    test("cancelling a parent cancels what is below it: what waits at once, what runs by its worker", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const flows = yield* JobFlow.JobFlows
        const { claim, end, tend } = yield* hand
        const [running] = yield* Effect.flatMap(
          flows.enqueue(JobFlow.node(Whole, "x", { children: parts(0) })),
          (x) => Effect.as(claim, [x.children[0]?.id ?? none] as const)
        )
        const x = (yield* look(running ?? none)).parent ?? none
        const tree = yield* flows.enqueue(JobFlow.node(Whole, "top", {
          children: [JobFlow.node(Whole, "middle", { children: parts(1, 2) }), ...parts(3)]
        }))
        const all = (ids: JobFlow.FlowIds): ReadonlyArray<Job.JobId> => [ids.id, ...ids.children.flatMap(all)]
        assert.strictEqual(yield* queue.cancel(tree.id), "cancelled")
        assert.deepStrictEqual(new Set(yield* statesOf(all(tree))), new Set(["cancelled"]))
        assert.strictEqual(yield* queue.cancel(x), "cancelled")
        assert.strictEqual(yield* stateOf(running ?? none), "running")
        // Where it would wait again, it is cancelled.
        yield* end(running ?? none, { _tag: "Retry", delayMillis: 0, failure })
        yield* tend
        assert.strictEqual(yield* stateOf(running ?? none), "cancelled")
        assert.deepStrictEqual(yield* countersOf, [0, 0, 0, 0, 0, 0])
      }))

    test("a child whose worker is lost on its last attempt fails its parent", () =>
      Effect.gen(function*() {
        const flows = yield* JobFlow.JobFlows
        const store = yield* JobStore
        const { id } = yield* flows.enqueue(
          JobFlow.node(Whole, "w", { children: [JobFlow.node(Part, 1, { maxAttempts: 1 })] })
        )
        yield* Effect.scoped(Effect.gen(function*() {
          const { worker } = yield* store.join(joining)
          yield* store.claim(worker, 1, [{ queue: "flow", limit: 1 }])
        }))
        assert.strictEqual(yield* stateOf(id), "dead")
      }))

    test("settles of many children at the same moment make the parent due once", () =>
      Effect.gen(function*() {
        const flows = yield* JobFlow.JobFlows
        const count = 40
        const { children, id } = yield* flows.enqueue(
          JobFlow.node(Whole, "w", {
            children: parts(...Array.from({ length: count }, (_, n) => n))
          })
        )
        const { claim, end } = yield* hand
        assert.strictEqual((yield* claim).length, count)
        yield* Effect.forEach(children, (child) => end(child.id, bare), { concurrency: 8 })
        assert.deepStrictEqual(yield* claim, [id])
        assert.strictEqual((yield* flows.children(id)).length, count)
      }))

    test("a flow is enqueued with its transaction or not at all", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const flows = yield* JobFlow.JobFlows
        const root = JobFlow.node(Whole, "w", { children: parts(1) })
        yield* Effect.flip(queue.transaction(Effect.andThen(flows.enqueue(root), Effect.fail("no"))))
        const bad = JobFlow.node(Whole, "w", { children: [...parts(1), JobFlow.node(Part, 1.5)] })
        assert.strictEqual((yield* Effect.flip(flows.enqueue(bad)))._tag, "JobPayloadInvalid")
        assert.deepStrictEqual((yield* (yield* JobAdmin).list({ queue: "flow" })).jobs, [])
      }))

    test("bounds: jobs, depth, unique texts and options are refused by name", () =>
      Effect.gen(function*() {
        const flows = yield* JobFlow.JobFlows
        const Once = Job.make("flow.once", { payload: Schema.Int, unique: String })
        let deep = JobFlow.node(Whole, "0")
        for (let n = 0; n < 10; n++) deep = JobFlow.node(Whole, String(n), { children: [deep] })
        const wide = JobFlow.node(Whole, "w", { children: parts(...Array.from({ length: 10_000 }, (_, n) => n)) })
        const wrong = [
          deep,
          wide,
          JobFlow.node(Whole, "w", { children: [JobFlow.node(Once, 1)] }),
          JobFlow.node(Whole, "w", { whenChildFails: "explode" as "fail", children: parts(1) }),
          JobFlow.node(Whole, "w", { children: [JobFlow.node(Part, 1, { priority: 5000 })] })
        ]
        for (const one of wrong) {
          const ended = yield* Effect.result(flows.enqueue(one))
          assert.isTrue(Result.isFailure(ended) && ended.failure._tag === "JobOptionInvalid")
        }
        yield* flows.enqueue(deep.children[0] ?? deep)
        assert.deepStrictEqual(yield* countersOf, [1, 0, 0, 9, 0, 0])
      }))

    test("parents that fail, retry and are awaited by workers: every one runs after its children", () =>
      Effect.gen(function*() {
        const flows = yield* JobFlow.JobFlows
        const queue = yield* JobQueue
        const done = new Set<number>()
        const early: Array<string> = []
        const Leaf = Job.make("flow.leaf", {
          payload: Schema.Int,
          queue: "flow",
          retry: Schedule.forever,
          maxAttempts: 20
        })
        const workers = Worker.layer([
          JobHandler.plain(
            Leaf,
            (n, { attempt }) => n % 3 === 0 && attempt < 3 ? Effect.fail("again") : Effect.sync(() => void done.add(n))
          ),
          JobHandler.batch(Whole, (items) =>
            Effect.sync(() => {
              for (const { payload } of items) {
                const at = Number(payload) * 5
                for (let n = at; n < at + 5; n++) {
                  if (!done.has(n)) early.push(`${payload} before ${n}`)
                }
              }
            }))
        ], quick)
        const roots = yield* Effect.forEach(
          Array.from({ length: 30 }, (_, n) => n),
          (n) =>
            flows.enqueue(JobFlow.node(Whole, String(n), {
              children: Array.from({ length: 5 }, (_, at) => JobFlow.node(Leaf, n * 5 + at))
            }))
        )
        const ends = yield* Effect.provide(
          Effect.forEach(roots, ({ id }) => queue.ended(id)),
          workers
        )
        assert.deepStrictEqual(early, [])
        assert.isTrue(ends.every(({ state }) => state === "succeeded"))
      }))
  })
