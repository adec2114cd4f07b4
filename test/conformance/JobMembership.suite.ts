/**
 * Who belongs to the fleet, and what the statements of those may do who no longer do: a job that is running is held by
 * a worker whose row exists, and a worker's row goes only when nothing running names it. Each test says when each
 * statement comes, so that nothing is left to chance.
 */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, type Layer, Option, Schema, Scope } from "effect"
import * as Job from "../../src/services/jobs/Job.ts"
import { JobAdmin } from "../../src/services/jobs/JobAdmin.ts"
import { JobLeaseLost } from "../../src/services/jobs/JobError.ts"
import { JobQueue } from "../../src/services/jobs/JobQueue.ts"
import { type ClaimedJob, JobStore, type Membership, type Verdict } from "../../src/services/jobs/JobStore.ts"
import type { Services } from "./JobQueue.suite.ts"

const Task = Job.make("task", { payload: Schema.Int, maxAttempts: 5 })
const Keyed = Job.make("keyed", { payload: Schema.Int, queue: "task", key: () => "k" })
const succeeded: Verdict = { _tag: "Succeeded", result: null, history: "full" }

/** Longer than any test, or so short that whoever does not beat is found at the next look. */
const long = { queues: ["task"], label: "long", leaseMillis: 60_000, beatMillis: 1_000 }
const short = { queues: ["task"], label: "short", leaseMillis: 30, beatMillis: 10 }

const claim = (worker: number, nth: number, limit = 100) =>
  Effect.flatMap(JobStore, (store) => store.claim(worker, nth, [{ queue: "task", limit }]))

const only = <A>(all: ReadonlyArray<A>): A => {
  const [first] = all
  return first === undefined || all.length > 1 ? assert.fail(`${all.length} where one is meant`) : first
}

const stateOf = (id: Job.JobId) =>
  Effect.flatMap(JobQueue, (queue) => Effect.map(queue.find(id), (found) => Option.getOrThrow(found).state))

/** A heartbeat, and what it finds to do. */
const beatAndTend = (member: Membership) =>
  Effect.flatMap(
    member.beat,
    (beat) => Effect.map(member.tend(beat.lost, beat.isDue), (chores) => ({ ...beat, ...chores }))
  )

/** Beats until one finds somebody dead: the lease of the others has to lapse first. */
const beatUntilDead = (member: Membership) =>
  Effect.repeat(beatAndTend(member), { until: ({ deadWorkers }) => deadWorkers > 0 })

/** A worker that joined, and can leave before the test ends. */
const joinFor = (options: typeof long) =>
  Effect.gen(function*() {
    const store = yield* JobStore
    const scope = yield* Scope.make()
    yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
    const member = yield* Scope.provide(store.join(options), scope)
    return { ...member, leave: Scope.close(scope, Exit.void) }
  })

/** Settles in a transaction that stays open until it is told how to end. */
const openSettle = (worker: number, jobs: ReadonlyArray<ClaimedJob>) =>
  Effect.gen(function*() {
    const store = yield* JobStore
    const isSettled = yield* Deferred.make<void>()
    const end = yield* Deferred.make<void, "rolled back">()
    const settle = store.settleAll(worker, jobs.map((job) => ({ job, verdict: succeeded })))
    const transaction = yield* Effect.forkChild(
      store.transact(
        Effect.andThen(settle, Effect.andThen(Deferred.succeed(isSettled, undefined), Deferred.await(end)))
      )
    )
    yield* Deferred.await(isSettled)
    return {
      commit: Effect.andThen(Deferred.succeed(end, undefined), Fiber.await(transaction)),
      rollback: Effect.andThen(Deferred.fail(end, "rolled back"), Fiber.await(transaction))
    }
  })

/** `locks`: whether the store makes a cancellation wait for the transaction that has its job. */
export const suite = (name: string, layer: Layer.Layer<Services, unknown>, locks: boolean) =>
  describe(name, () => {
    const test = (title: string, body: () => Effect.Effect<unknown, unknown, Services | Scope.Scope>) =>
      it.live(title, () => Effect.asVoid(Effect.provide(Effect.scoped(body()), layer)))

    test("a claim that comes after its worker was declared dead, or has left, takes nothing", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const [silent, left, witness] = [yield* joinFor(short), yield* joinFor(long), yield* joinFor(long)]
        yield* beatUntilDead(witness)
        yield* left.leave
        const id = yield* queue.enqueue(Task, 1)
        assert.deepStrictEqual(yield* claim(silent.worker, 1), [])
        assert.deepStrictEqual(yield* claim(left.worker, 1), [])
        assert.deepStrictEqual(yield* claim(witness.worker + 1_000, 1), [])
        assert.strictEqual(yield* stateOf(id), "ready")
        assert.strictEqual(only(yield* claim(witness.worker, 1)).id, id)
      }))

    for (const end of ["rollback", "commit"] as const) {
      for (const how of ["was declared dead", "left"] as const) {
        test(`a job that is being settled while its worker ${how}: ${end}`, () =>
          Effect.gen(function*() {
            const queue = yield* JobQueue
            const worker = yield* joinFor(how === "left" ? long : short)
            const witness = yield* joinFor(long)
            const ids = yield* queue.enqueueMany(Task, [1, 2])
            const jobs = yield* claim(worker.worker, 1)
            assert.strictEqual(jobs.length, 2)
            const transaction = yield* openSettle(worker.worker, jobs.slice(0, 1))
            // What is free is taken back at once, what is not stays with its worker.
            if (how === "left") yield* worker.leave
            else {
              const found = yield* beatUntilDead(witness)
              assert.deepStrictEqual([found.deadWorkers, found.recovered, found.held], [1, 1, 1])
            }
            const [locked = assert.fail(), free = assert.fail()] = ids
            const stuck = yield* (yield* JobAdmin).stuck
            assert.deepStrictEqual(stuck.map(({ attempt, id, worker }) => [id, attempt, worker]), [[
              locked,
              1,
              worker.worker
            ]])
            assert.isNotNull(stuck[0]?.lostAt)
            assert.isString(stuck[0]?.doing, "what is in the way")
            assert.strictEqual(yield* stateOf(free), "ready")
            assert.strictEqual(yield* stateOf(locked), "running")
            assert.deepInclude(yield* beatAndTend(witness), { deadWorkers: 0, recovered: 0 })
            yield* transaction[end]
            // As soon as the store looks again.
            if (end === "rollback") {
              yield* Effect.repeat(beatAndTend(witness), { until: ({ recovered }) => recovered === 1 })
            }
            assert.strictEqual(yield* stateOf(locked), end === "rollback" ? "ready" : "succeeded")
            assert.strictEqual((yield* claim(witness.worker, 1)).length, end === "rollback" ? 2 : 1)
            const [stats] = yield* (yield* JobAdmin).stats
            assert.deepInclude(stats, { ready: 0, running: end === "rollback" ? 2 : 1, dead: 0 })
          }))
      }
    }

    test("a worker that was declared dead is told so, and what it held is not its own any more", () =>
      Effect.gen(function*() {
        const store = yield* JobStore
        const queue = yield* JobQueue
        const [silent, witness] = [yield* joinFor(short), yield* joinFor(long)]
        const id = yield* queue.enqueue(Task, 1)
        const job = only(yield* claim(silent.worker, 1))
        yield* beatUntilDead(witness)
        assert.isFalse((yield* silent.beat).alive)
        assert.strictEqual(yield* store.settle(silent.worker, [{ job, verdict: succeeded }]), 1)
        assert.strictEqual(yield* store.giveBackUnknown(silent.worker, 1, []), 0)
        assert.strictEqual(yield* stateOf(id), "ready")
      }))

    test("a claim that was given up takes nothing when it comes late, and giving it up late does nothing", () =>
      Effect.gen(function*() {
        const store = yield* JobStore
        const queue = yield* JobQueue
        const { worker } = yield* joinFor(long)
        const ids = yield* queue.enqueueMany(Task, [1, 2, 3])
        const known = only(yield* claim(worker, 1, 1))
        // The second claim is given up while it is on its way.
        assert.strictEqual(yield* store.giveBackUnknown(worker, 2, [known.id]), 0)
        assert.deepStrictEqual(yield* claim(worker, 2), [])
        assert.deepStrictEqual((yield* claim(worker, 3)).map((job) => job.id), ids.slice(1))
        // The same once more, from a connection that was slow: what was claimed since stays.
        assert.strictEqual(yield* store.giveBackUnknown(worker, 2, [known.id]), 0)
        assert.deepStrictEqual(yield* Effect.forEach(ids, stateOf), ["running", "running", "running"])
        // The answer to the third is lost for good: its jobs go back unspent, that of the first stays.
        assert.strictEqual(yield* store.giveBackUnknown(worker, 3, [known.id]), 2)
        // What is given up once stays given up, whatever else comes late.
        assert.strictEqual(yield* store.giveBackUnknown(worker, 2, [known.id]), 0)
        assert.deepStrictEqual(yield* claim(worker, 3), [])
        const again = yield* claim(worker, 4)
        assert.deepStrictEqual(again.map(({ attempt, id }) => [id, attempt]), ids.slice(1).map((id) => [id, 1]))
        assert.strictEqual(
          yield* store.settle(worker, [known, ...again].map((job) => ({ job, verdict: succeeded }))),
          0
        )
      }))

    const stale: ReadonlyArray<Verdict> = [
      succeeded,
      { _tag: "Dead", failure: { reason: "Defect", message: "stale" } },
      { _tag: "Cancelled" },
      { _tag: "Released", delayMillis: 0 },
      { _tag: "Retry", delayMillis: 0, failure: { reason: "Failed", message: "stale" } }
    ]
    for (const verdict of stale) {
      test(`a ${verdict._tag} of a claim that was given back does not touch the next claim of the same worker`, () =>
        Effect.gen(function*() {
          const store = yield* JobStore
          const queue = yield* JobQueue
          const { worker } = yield* joinFor(long)
          const id = yield* queue.enqueue(Task, 1)
          const first = only(yield* claim(worker, 1))
          const release = { job: first, verdict: { _tag: "Released", delayMillis: 0 } } as const
          assert.strictEqual(yield* store.settle(worker, [release]), 0)
          const second = only(yield* claim(worker, 2))
          assert.deepStrictEqual([second.id, second.attempt], [first.id, first.attempt], "the same job and attempt")
          assert.strictEqual(yield* store.settle(worker, [{ job: first, verdict }]), 1)
          const zombie = yield* Effect.flip(store.transact(store.settleAll(worker, [{ job: first, verdict }])))
          assert.instanceOf(zombie, JobLeaseLost)
          assert.strictEqual(yield* stateOf(id), "running")
          assert.strictEqual(yield* store.settle(worker, [{ job: second, verdict: succeeded }]), 0)
        }))
    }

    test("a job whose cancellation was asked for is cancelled where it would wait again, and its neighbours wait", () =>
      Effect.gen(function*() {
        const store = yield* JobStore
        const queue = yield* JobQueue
        const { worker } = yield* joinFor(long)
        const ids = yield* queue.enqueueMany(Task, [1, 2, 3, 4])
        const jobs = yield* claim(worker, 1)
        const [first = assert.fail(), second = assert.fail()] = ids
        assert.deepStrictEqual([yield* queue.cancel(first), yield* queue.cancel(second)], ["requested", "requested"])
        const failure = { reason: "Failed", message: "no" } as const
        const settlements = jobs.map((job, index) => ({
          job,
          verdict: index % 2 === 0
            ? { _tag: "Retry", delayMillis: 3_600_000, failure } as const
            : { _tag: "Released", delayMillis: 0 } as const
        }))
        assert.strictEqual(yield* store.settle(worker, settlements), 0)
        assert.deepStrictEqual(yield* Effect.forEach(ids, stateOf), ["cancelled", "cancelled", "scheduled", "ready"])
      }))

    test("a redriven job has no fence in common with its first life", () =>
      Effect.gen(function*() {
        const store = yield* JobStore
        const queue = yield* JobQueue
        const { worker } = yield* joinFor(long)
        const id = yield* queue.enqueue(Task, 1)
        const first = only(yield* claim(worker, 1))
        const dead: Verdict = { _tag: "Dead", failure: { reason: "Failed", message: "no" } }
        assert.strictEqual(yield* store.settle(worker, [{ job: first, verdict: dead }]), 0)
        yield* (yield* JobAdmin).redrive({ ids: [id] })
        only(yield* claim(worker, 2))
        assert.strictEqual(yield* store.settle(worker, [{ job: first, verdict: dead }]), 1)
        assert.strictEqual(yield* stateOf(id), "running")
      }))

    for (const delayMillis of [0, 20, 3_600_000]) {
      test(`a keyed job that is given back for ${delayMillis} ms stays before the others of its key`, () =>
        Effect.gen(function*() {
          const store = yield* JobStore
          const queue = yield* JobQueue
          const member = yield* joinFor(long)
          const ids = yield* queue.enqueueMany(Keyed, [1, 2, 3])
          const first = only(yield* claim(member.worker, 1))
          yield* store.settle(member.worker, [{ job: first, verdict: { _tag: "Released", delayMillis } }])
          // Who comes to the key looks whether it is free.
          const last = yield* queue.enqueue(Keyed, 4)
          // Beats promote what is due.
          const next = yield* Effect.repeat(
            Effect.andThen(beatAndTend(member), claim(member.worker, 2)),
            { until: (jobs) => jobs.length > 0 || delayMillis > 1_000 }
          )
          assert.deepStrictEqual(next.map((job) => job.id), delayMillis > 1_000 ? [] : ids.slice(0, 1))
          assert.deepStrictEqual(yield* Effect.forEach([...ids.slice(1), last], stateOf), [
            "blocked",
            "blocked",
            "blocked"
          ])
          yield* queue.cancel(first.id)
          if (delayMillis > 1_000) {
            assert.deepStrictEqual((yield* claim(member.worker, 3)).map((job) => job.id), ids.slice(1, 2))
          }
        }))
    }

    test("what is cancelled while it is being settled has ended, or is cancelled, and is not unknown", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const { worker } = yield* joinFor(long)
        for (const [nth, end] of [[1, "commit"], [2, "rollback"]] as const) {
          const id = yield* queue.enqueue(Task, 1)
          const transaction = yield* openSettle(worker, yield* claim(worker, nth))
          const cancelling = yield* Effect.forkChild(queue.cancel(id), { startImmediately: true })
          yield* transaction[end]
          const answer = yield* Fiber.join(cancelling)
          assert.strictEqual(answer, end === "commit" && locks ? "finished" : "requested")
          assert.strictEqual(yield* stateOf(id), end === "commit" ? "succeeded" : "running")
        }
      }))
  })
