/**
 * What becomes of a verdict that the store refuses: it is written later, or dead when its data can never be stored; and
 * it holds up nobody.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Schema, Scope } from "effect"
import { SqlError, UnknownError } from "effect/sql/SqlError"
import { TestClock } from "effect/testing"
import { fromSqlError } from "../../../../src/layers/jobs/JobSql.ts"
import { layerMemory } from "../../../../src/layers/jobs/MemoryJobQueue.ts"
import * as Worker from "../../../../src/layers/jobs/worker/Worker.ts"
import * as Job from "../../../../src/services/jobs/Job.ts"
import { JobAdmin } from "../../../../src/services/jobs/JobAdmin.ts"
import type { JobQueueError } from "../../../../src/services/jobs/JobError.ts"
import * as JobHandler from "../../../../src/services/jobs/JobHandler.ts"
import { JobQueue } from "../../../../src/services/jobs/JobQueue.ts"
import { JobStore, type Settlement } from "../../../../src/services/jobs/JobStore.ts"

const Work = Job.make("work", { payload: Schema.Int, success: Schema.Int })
const jobs = 40

/** The error that a server answers a settle with, as `PostgresJobQueue` tells it; without a code it did not answer. */
const errorOf = (code: string): JobQueueError =>
  fromSqlError("settle")(
    new SqlError({ reason: new UnknownError({ cause: Object.assign(new Error(`SQLSTATE ${code}`), { code }) }) })
  )

/** SQLSTATEs of every class that a settle may meet, and whether it is the data's fault. */
const codes: Readonly<Record<string, boolean>> = {
  "57014": false, // cancelled: statement_timeout, pg_cancel_backend
  "55P03": false, // lock_timeout
  "40P01": false,
  "40001": false,
  "25006": false,
  "25P03": false,
  "08006": false,
  ECONNRESET: false,
  "53100": false,
  "53200": false,
  "53300": false,
  "57P01": false,
  "57P04": false,
  "58030": false,
  "42501": false, // somebody took the rights away
  "42P01": false, // or the table
  "42883": false,
  "0A000": false,
  XX000: false,
  "22P02": true,
  "22P05": true,
  "22021": true,
  "23514": true,
  "23505": true,
  "54000": true
}

interface World {
  /** Whether the store refuses these settlements now. */
  refuses: (settlements: ReadonlyArray<Settlement>) => boolean
  ran: number
}

/** Runs jobs on a store that refuses settles with this error; `use` moves the clock. */
const working = <A, E>(
  code: string,
  refuses: World["refuses"],
  use: (world: World, ids: ReadonlyArray<Job.JobId>) => Effect.Effect<A, E, JobQueue | JobAdmin>
) =>
  Effect.gen(function*() {
    const world: World = { refuses, ran: 0 }
    const store = yield* JobStore
    const refusing = JobStore.of({
      ...store,
      settle: (worker, settlements) =>
        Effect.suspend(() =>
          world.refuses(settlements) ? Effect.fail(errorOf(code)) : store.settle(worker, settlements)
        )
    })
    const handler = JobHandler.plain(Work, (n) => Effect.sync(() => (world.ran++, n)))
    const scope = yield* Scope.make()
    const ids = yield* (yield* JobQueue).enqueueMany(Work, Array.from({ length: jobs }, (_, n) => n))
    const worker = Layer.provide(Worker.layer([handler]), Layer.succeed(JobStore, refusing))
    yield* Scope.provide(Layer.build(worker), scope)
    const answer = yield* use(world, ids)
    const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
    while (closing.pollUnsafe() === undefined) yield* TestClock.adjust("1 second")
    return answer
  }).pipe(Effect.provide(layerMemory))

const countOf = (state: Job.JobState) =>
  Effect.flatMap(JobAdmin, (admin) => Effect.map(admin.list({ state, limit: 1000 }), ({ jobs }) => jobs.length))

const has = (settlements: ReadonlyArray<Settlement>, payload: number) =>
  settlements.some(({ job }) => job.payload === payload)

describe("a settle that the store refuses", () => {
  for (const [code, isData] of Object.entries(codes)) {
    it.effect(`${code}: ${isData ? "one outcome is dead" : "nothing is lost"}, and the others do not wait for it`, () =>
      Effect.suspend(() => {
        // An outage is nobody's fault: it meets all, and all wait for its end together.
        const isOutage = errorOf(code).reason === "Unavailable"
        const refuses: World["refuses"] = (settlements) => isOutage || has(settlements, 7)
        return working(code, refuses, (world, ids) =>
          Effect.gen(function*() {
            yield* TestClock.adjust("3 seconds")
            assert.strictEqual(yield* countOf("succeeded"), isOutage ? 0 : jobs - 1)
            yield* TestClock.adjust("1 minute")
            assert.strictEqual(yield* countOf("running"), isOutage ? jobs : 1)
            world.refuses = (settlements) =>
              isData && settlements.some(({ job, verdict }) => job.payload === 7 && verdict._tag !== "Dead")
            yield* TestClock.adjust("10 seconds")
            const info = yield* Effect.flatMap(JobQueue, (queue) => queue.ended(ids[7] ?? Job.JobId.make("0")))
            assert.strictEqual(info.state, isData ? "dead" : "succeeded")
            if (isData) assert.include(info.failure?.message, `could not be stored: SQLSTATE ${code}`)
            assert.strictEqual(yield* countOf("succeeded"), isData ? jobs - 1 : jobs)
            assert.strictEqual(world.ran, jobs, "no handler ran twice")
          }))
      }))
  }

  it.effect("a table that is locked as a whole is not asked for each job", () => {
    let asked = 0
    return working("57014", () => ++asked > 0, (world) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("1 minute")
        // With growing pauses, of five seconds in the end: a batch and its first few, and those few again.
        assert.isBelow(asked, 150)
        world.refuses = () => false
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(yield* countOf("succeeded"), jobs)
        assert.strictEqual(world.ran, jobs)
      }))
  })
})
