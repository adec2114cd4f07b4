/**
 * Statements that arrive when nobody waits for them any more, and answers that never arrive: each statement of a worker
 * is held on the wire until the worker has been declared dead, or its answer is, and then the jobs are looked at.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Redacted, Schema, Scope } from "effect"
import * as PostgresJobQueue from "../../../src/layers/jobs/PostgresJobQueue.ts"
import * as Worker from "../../../src/layers/jobs/worker/Worker.ts"
import type * as Database from "../../../src/layers/postgres/Database.ts"
import * as Job from "../../../src/services/jobs/Job.ts"
import * as JobHandler from "../../../src/services/jobs/JobHandler.ts"
import { JobQueue } from "../../../src/services/jobs/JobQueue.ts"
import { type ClaimedJob, JobStore, type Membership, type Settlement } from "../../../src/services/jobs/JobStore.ts"
import { assertInvariant } from "../../support/jobInvariant.ts"
import * as Relay from "../../support/Relay.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const Task = Job.make("late", { payload: Schema.Int })
const long = { queues: ["late"], label: "witness", leaseMillis: 60_000, beatMillis: 1_000 }
const short = { queues: ["late"], label: "victim", leaseMillis: 60, beatMillis: 20 }
const jobs = 6

type Store = JobStore["Service"]
const of = (store: Store, worker: number, nth: number) => store.claim(worker, nth, [{ queue: "late", limit: 100 }])
const succeed = (claimed: ReadonlyArray<ClaimedJob>): ReadonlyArray<Settlement> =>
  claimed.map((job) => ({ job, verdict: { _tag: "Succeeded", result: null, history: "full" } }))
const release = (claimed: ReadonlyArray<ClaimedJob>): ReadonlyArray<Settlement> =>
  claimed.map((job) => ({ job, verdict: { _tag: "Released", delayMillis: 0 } }))

/** The statements of a worker that has claimed half of the jobs, and a text by which each is known. */
const statements: Readonly<
  Record<
    string,
    readonly [
      text: string,
      run: (store: Store, member: Membership, half: ReadonlyArray<ClaimedJob>) => Effect.Effect<unknown, unknown>
    ]
  >
> = {
  claim: ["job_claim", (store, { worker }) => of(store, worker, 2)],
  "give back": [
    "job_give_back",
    (store, { worker }, half) => store.giveBackUnknown(worker, 1, half.slice(1).map(({ id }) => id))
  ],
  settle: ["job_succeed", (store, { worker }, half) => store.settle(worker, succeed(half))],
  release: ["job_again", (store, { worker }, half) => store.settle(worker, release(half))],
  beat: ["job_beat", (_, member) => member.beat],
  tend: ["job_recover", (_, member) => member.tend([member.worker], true)],
  idle: ["job_idle", (_, member) => member.idle(true)]
}

/** A store behind a relay, as another process would have it, and a member of it. */
const victim = (joining: typeof long) =>
  Effect.gen(function*() {
    const { url } = yield* TestDatabase.TestDatabase
    const relay = yield* Relay.make(url)
    const context = yield* Layer.build(
      Layer.fresh(PostgresJobQueue.layerWith({ listen: false })).pipe(
        Layer.provide(Layer.fresh(PgClient.layer({ url: Redacted.make(relay.url), prepare: false })))
      )
    )
    const store = Context.get(context, JobStore)
    return { relay, store, member: yield* store.join(joining) }
  })

const test = (
  title: string,
  body: () => Effect.Effect<
    unknown,
    unknown,
    Scope.Scope | Database.Services | TestDatabase.TestDatabase | PostgresJobQueue.Services
  >
) =>
  it.live(title, () =>
    Effect.asVoid(Effect.provide(
      Effect.scoped(body()),
      Layer.provideMerge(PostgresJobQueue.layerWith({ listen: false }), TestDatabase.layer)
    )))

describe("a statement that arrives after its worker was declared dead", () => {
  for (const [what, [text, statement]] of Object.entries(statements)) {
    test(`${what}: makes no job run for nobody, and every job is there for others`, () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const store = yield* JobStore
        const witness = yield* store.join(long)
        const { member, relay, store: theirs } = yield* victim(short)
        yield* queue.enqueueMany(Task, Array.from({ length: jobs }, (_, n) => n))
        const half = yield* theirs.claim(member.worker, 1, [{ queue: "late", limit: jobs / 2 }])
        assert.strictEqual(half.length, jobs / 2)
        yield* relay.seize(text, "toServer")
        yield* Effect.forkScoped(Effect.exit(statement(theirs, member, half)))
        yield* relay.caught
        yield* relay.kill
        const beat = yield* Effect.repeat(witness.beat, { until: ({ deadWorkers }) => deadWorkers === 1 })
        const chores = yield* witness.tend(beat.lost, beat.isDue)
        assert.deepStrictEqual([chores.recovered, chores.held], [jobs / 2, 0])
        const before = yield* of(store, witness.worker, 1)
        assert.strictEqual(before.length, jobs)
        yield* store.settle(witness.worker, release(before))
        // Now it comes.
        yield* relay.release
        yield* relay.ended
        yield* assertInvariant
        const after = yield* of(store, witness.worker, 2)
        assert.strictEqual(after.length, jobs, "all wait for others, none for the dead")
        assert.strictEqual(yield* store.settle(witness.worker, succeed(after)), 0)
        yield* assertInvariant
      }))
  }
})

describe("a statement whose answer is lost", () => {
  for (const [what, [text, statement]] of Object.entries(statements)) {
    test(`${what}: is done once, and its worker goes on`, () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const { member, relay, store } = yield* victim(long)
        yield* queue.enqueueMany(Task, Array.from({ length: jobs }, (_, n) => n))
        const half = yield* store.claim(member.worker, 1, [{ queue: "late", limit: jobs / 2 }])
        yield* relay.seize(text, "toClient")
        const fiber = yield* Effect.forkScoped(Effect.exit(statement(store, member, half)))
        yield* relay.caught
        yield* relay.kill
        assert.isTrue(Exit.isFailure(yield* Fiber.join(fiber)), "nobody answered")
        yield* relay.release
        yield* relay.ended
        yield* assertInvariant
        // As the engine does after a claim that was not answered, and with a verdict that was not.
        if (what === "claim") yield* store.giveBackUnknown(member.worker, 2, half.map(({ id }) => id))
        const isHalfOurs = what === "claim" || what === "beat" || what === "tend" || what === "idle"
        const lost = yield* store.settle(member.worker, succeed(half))
        assert.strictEqual(lost, isHalfOurs ? 0 : what === "give back" ? 1 : half.length)
        const rest = yield* of(store, member.worker, 3)
        const given = what === "release" ? half.length : what === "give back" ? 1 : 0
        assert.strictEqual(rest.length, jobs / 2 + given)
        assert.isTrue(rest.every(({ attempt }) => attempt === 1), "no attempt is spent on it")
        assert.strictEqual(yield* store.settle(member.worker, succeed(rest)), 0)
        yield* assertInvariant
      }))
  }
})

describe("a claim that is being made while its worker is declared dead", () => {
  for (const end of ["commit", "rollback"] as const) {
    test(`${end}: its worker's row stays until the claim is over`, () =>
      Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        const queue = yield* JobQueue
        const store = yield* JobStore
        const [silent, witness] = [yield* store.join(short), yield* store.join(long)]
        yield* queue.enqueueMany(Task, [1, 2, 3])
        const look = Effect.flatMap(witness.beat, (beat) => witness.tend(beat.lost, beat.isDue))
        const workers = sql`select id from sluice.job_worker order by id`
        yield* Effect.ignore(sql.withTransaction(Effect.gen(function*() {
          yield* sql`select * from sluice.job_claim(${silent.worker}::int4, 1, array['late'], array[10], array['-infinity']::timestamptz[], array[0]::int8[])`
          yield* Effect.repeat(witness.beat, { until: ({ deadWorkers }) => deadWorkers === 1 })
          yield* look
          assert.strictEqual((yield* workers).length, 2)
          return yield* (end === "rollback" ? Effect.fail("rolled back") : Effect.void)
        })))
        yield* Effect.repeat(Effect.andThen(look, workers), { until: (left) => left.length === 1 })
        assert.deepStrictEqual(yield* workers, [{ id: witness.worker }])
        assert.strictEqual((yield* of(store, witness.worker, 1)).length, 3)
        yield* assertInvariant
      }))
  }
})

test("job_stuck names the session that holds a lost worker's job, and such a job can be cancelled once it is free", () =>
  Effect.gen(function*() {
    const sql = yield* PgClient.PgClient
    const queue = yield* JobQueue
    const store = yield* JobStore
    const [silent, witness] = [yield* store.join(short), yield* store.join(long)]
    const id = yield* queue.enqueue(Task, 1)
    yield* of(store, silent.worker, 1)
    const stuck = sql<{ readonly id: bigint; readonly holder: number | null }>`select id, holder from sluice.job_stuck`
    assert.deepStrictEqual(yield* stuck, [])
    yield* sql.withTransaction(Effect.gen(function*() {
      const [locked] = yield* sql<{ readonly pid: number }>`select pg_backend_pid() as pid from sluice.job for update`
      yield* Effect.repeat(witness.beat, { until: ({ deadWorkers }) => deadWorkers === 1 })
      assert.strictEqual((yield* witness.tend([silent.worker], false)).held, 1)
      assert.deepStrictEqual(yield* stuck, [{ id: BigInt(id), holder: locked?.pid ?? null }])
    }))
    assert.strictEqual(yield* queue.cancel(id), "cancelled")
    assert.deepStrictEqual(yield* stuck, [])
    yield* assertInvariant
  }))

test("a key that somebody enqueues to in a long transaction holds up neither the jobs of lost workers nor due jobs", () =>
  Effect.gen(function*() {
    const sql = yield* PgClient.PgClient
    const queue = yield* JobQueue
    const store = yield* JobStore
    const Keyed = Job.make("late.keyed", { payload: Schema.Int, queue: "late", key: () => "k", maxAttempts: 1 })
    const [silent, witness] = [yield* store.join(short), yield* store.join(long)]
    // Its last attempt ends with its worker, which lets the next of its key through.
    const [last = assert.fail(), next = assert.fail()] = yield* queue.enqueueMany(Keyed, [1, 2])
    const free = yield* queue.enqueue(Task, 1)
    assert.strictEqual((yield* of(store, silent.worker, 1)).length, 2)
    const due = [yield* queue.enqueue(Keyed, 3, { delay: 1 }), yield* queue.enqueue(Task, 2, { delay: 1 })]
    const states = Effect.map(
      Effect.forEach([last, next, free, ...due], queue.find),
      (found) => found.map((info) => info._tag === "Some" ? info.value.state : "unknown")
    )
    const tend = Effect.flatMap(witness.beat, ({ isDue, lost }) => witness.tend(lost, isDue))
    yield* sql.withTransaction(Effect.gen(function*() {
      yield* sql`select pg_advisory_xact_lock(sluice.job_key('late.keyed', 'k'))`
      yield* Effect.repeat(witness.beat, { until: ({ deadWorkers, isDue }) => deadWorkers === 1 && isDue })
      assert.deepInclude(yield* witness.tend([silent.worker], true), { recovered: 1, held: 1 })
      assert.deepStrictEqual(yield* states, ["running", "blocked", "ready", "scheduled", "ready"])
    }))
    yield* Effect.repeat(tend, { until: () => Effect.map(states, ([first]) => first === "dead") })
    yield* witness.tend([], true)
    assert.deepStrictEqual(yield* states, ["dead", "ready", "ready", "blocked", "ready"])
    yield* assertInvariant
  }))

// In real time: a claim waits ten seconds for its answer, and the client gives a connection five to be cancelled.
describe.runIf(process.env["SLUICE_LONG"] === "1")("a connection that has gone deaf", () => {
  for (const text of ["job_claim", "job_beat", "job_succeed"]) {
    test(`${text}: its worker is at work again within seconds, on another one`, () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const { url } = yield* TestDatabase.TestDatabase
        const relay = yield* Relay.make(url)
        const scope = yield* Effect.scope
        const handler = JobHandler.plain(Task, () => Effect.void)
        const worker = Worker.layer([handler], { lease: "1 second", beat: "100 millis", poll: "100 millis" }).pipe(
          Layer.provide(Layer.fresh(PostgresJobQueue.layer)),
          Layer.provide(Layer.fresh(PgClient.layer({ url: Redacted.make(relay.url), prepare: false })))
        )
        yield* Scope.provide(Layer.build(worker), scope)
        yield* Effect.flatMap(queue.enqueue(Task, 1), queue.ended)
        yield* relay.seize(text, "toServer")
        const id = yield* queue.enqueue(Task, 3)
        yield* relay.caught
        assert.strictEqual((yield* queue.ended(id)).state, "succeeded")
        yield* assertInvariant
      }))
  }
})
