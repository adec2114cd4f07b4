/**
 * Every option and argument of the jobs wing with what it should not be: refused by name before anything is stored, or
 * stored and read back as it was.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, layer as withLayer } from "@effect/vitest"
import { Duration, Effect, Exit, Layer, Option, Result, Schedule, Schema } from "effect"
import * as PostgresJobQueue from "../../../src/layers/jobs/PostgresJobQueue.ts"
import * as Worker from "../../../src/layers/jobs/worker/Worker.ts"
import * as Job from "../../../src/services/jobs/Job.ts"
import { JobAdmin } from "../../../src/services/jobs/JobAdmin.ts"
import * as JobCron from "../../../src/services/jobs/JobCron.ts"
import { JobOptionInvalid } from "../../../src/services/jobs/JobError.ts"
import * as JobHandler from "../../../src/services/jobs/JobHandler.ts"
import { JobQueue } from "../../../src/services/jobs/JobQueue.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const values: Record<string, unknown> = {
  undefined,
  null: null,
  NaN,
  "-1": -1,
  "-0": -0,
  "0": 0,
  "1": 1,
  "1.5": 1.5,
  Infinity,
  "-Infinity": -Infinity,
  "2^31": 2 ** 31,
  "2^53": 2 ** 53,
  "1e308": 1e308,
  "5n": 5n,
  empty: "",
  word: "word",
  "a number as text": "7",
  "NUL": "a\u0000b",
  "half a pair": "a\ud83d",
  "a pair": "a😀",
  "very long": "é".repeat(10_000),
  "too long by one": "x".repeat(1_801),
  "a long name": "y".repeat(200),
  "no date": new Date(NaN),
  "the last date": new Date(8.64e15),
  "the year 0": new Date("0000-01-01T00:00:00Z"),
  "this year": new Date("2031-02-03T04:05:06.789Z"),
  "an object": {},
  "a list": [],
  "no id": ["x"],
  "the first id that is none": "9223372036854775808",
  "twenty digits": "99999999999999999999",
  function: () => 1
}

type Services = JobQueue | JobAdmin | PgClient.PgClient

/**
 * One option: applied with a value it stores something, and reads back what the value became; `undefined` says that
 * there is nothing to read.
 */
interface Point {
  readonly option: string
  readonly apply: (value: never) => Effect.Effect<unknown, unknown, Services>
  /** What should be read back, when it is not the value itself. */
  readonly expected?: (value: unknown) => unknown
}

const kind = Job.make("options", { payload: Schema.Null })
const handler = JobHandler.plain(kind, () => Effect.void)

/** What throws as its refusal: anything else that is thrown is a defect. */
const refusable = <A>(make: () => A): Effect.Effect<A, JobOptionInvalid> =>
  Effect.suspend(() => {
    const made = Result.try(make)
    if (Result.isSuccess(made)) return Effect.succeed(made.success)
    return made.failure instanceof JobOptionInvalid ? Effect.fail(made.failure) : Effect.die(made.failure)
  })

/** Enqueues and looks at the job. */
const enqueued = (of: typeof kind, options: object) =>
  Effect.gen(function*() {
    const queue = yield* JobQueue
    const info = Option.getOrThrow(yield* Effect.flatMap(queue.enqueue(of, null, options), queue.find))
    yield* queue.cancel(info.id)
    return info
  })
const option = (
  option: string,
  read: (info: Job.JobInfo) => unknown,
  expected: (value: unknown) => unknown
): Point => ({
  option,
  apply: (value) => Effect.map(enqueued(kind, { [option]: value }), read),
  expected: (value) => value === undefined ? expected(undefined) : expected(value)
})
const made = (option: string, read: (info: Job.JobInfo) => unknown, fallback: unknown): Point => ({
  option,
  apply: (value) =>
    Effect.flatMap(
      refusable(() => Job.make("options.made", { payload: Schema.Null, [option]: value })),
      // Its name is another, nothing else.
      (kind) => Effect.map(enqueued(kind as never, {}), read)
    ),
  expected: (value) => value ?? fallback
})
const thrown = (option: string, make: (options: object) => unknown): Point => ({
  option,
  apply: (value) => Effect.asVoid(refusable(() => make({ [option]: value }))),
  expected: () => undefined
})
const asked = (
  option: string,
  ask: (admin: JobAdmin["Service"], options: object) => Effect.Effect<unknown, unknown>
): Point => ({
  option,
  apply: (value) => Effect.asVoid(Effect.flatMap(JobAdmin, (admin) => ask(admin, { [option]: value }))),
  expected: () => undefined
})

const table: Record<string, Point> = {
  "enqueue priority": option("priority", (info) => info.priority, (value) => value ?? 0),
  "enqueue maxAttempts": option("maxAttempts", (info) => info.maxAttempts, (value) => value ?? 10),
  "enqueue key": option("key", (info) => info.key, (value) => value ?? null),
  "enqueue tenant": option("tenant", (info) => info.tenant, (value) => value ?? null),
  "enqueue unique": {
    option: "unique",
    apply: (unique) =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const [a, b] = [yield* queue.enqueue(kind, null, { unique }), yield* queue.enqueue(kind, null, { unique })]
        yield* Effect.forEach(new Set([a, b]), queue.cancel)
        return a === b
      }),
    expected: (value) => value !== undefined
  },
  "enqueue delay": {
    option: "delay",
    apply: (delay) =>
      Effect.map(enqueued(kind, { delay }), (info) => {
        // Both times are cut to whole milliseconds.
        const off = info.runAt.getTime() - info.enqueuedAt.getTime() - Duration.toMillis(delay ?? 0)
        return Math.abs(off) <= 1
      }),
    expected: () => true
  },
  "enqueue runAt": option(
    "runAt",
    (info) => info.runAt > info.enqueuedAt ? info.runAt.toISOString() : "at once",
    (value) => value instanceof Date && value.getTime() > Date.now() ? value.toISOString() : "at once"
  ),
  "Job.make priority": made("priority", (info) => info.priority, 0),
  "Job.make maxAttempts": made("maxAttempts", (info) => info.maxAttempts, 10),
  "Job.make queue": made("queue", (info) => info.queue, "options.made"),
  "Job.make keyConcurrency": { ...made("keyConcurrency", () => undefined, undefined), expected: () => undefined },
  "Job.make timeout": { ...made("timeout", () => undefined, undefined), expected: () => undefined },
  "Job.make history": { ...made("history", () => undefined, undefined), expected: () => undefined },
  "Job.make retry": { ...made("retry", () => undefined, undefined), expected: () => undefined },
  "Job.make name": {
    option: "name",
    apply: (name) =>
      Effect.flatMap(
        refusable(() => Job.make(name, { payload: Schema.Null })),
        (kind) => Effect.map(enqueued(kind as never, {}), (info) => info.kind)
      )
  },
  "transactional maxGroup": thrown("maxGroup", (options) => JobHandler.transactional(kind, () => Effect.void, options)),
  "batch maxSize": thrown("maxSize", (options) => JobHandler.batch(kind, () => Effect.void, options)),
  "batch settle": thrown("settle", (options) => JobHandler.batch(kind, () => Effect.void, options)),
  ...Object.fromEntries(
    ["concurrency", "transactions", "maxClaim", "lease", "beat", "poll", "drainGrace", "label"].map((name) => [
      `JobWorker.layer ${name}`,
      thrown(name, (options) => Worker.layer([handler], options))
    ])
  ),
  "PostgresJobQueue historyDays": thrown("historyDays", (options) => PostgresJobQueue.layerWith(options)),
  "JobCron.make name": {
    option: "name",
    apply: (name) => Effect.asVoid(Effect.fromResult(JobCron.make(name, "* * * * *", kind, null))),
    expected: () => undefined
  },
  "JobCron.make priority": {
    option: "priority",
    apply: (priority) =>
      Effect.map(
        Effect.fromResult(JobCron.make("a", "* * * * *", kind, null, { priority })),
        ({ job }) => job.priority
      ),
    expected: (value) => value ?? 0
  },
  "setRate queue": asked("queue", (admin, options) => admin.setRate((options as { readonly queue: string }).queue, 5)),
  "setRate ratePerSecond": {
    option: "ratePerSecond",
    apply: (rate) =>
      Effect.gen(function*() {
        yield* (yield* JobAdmin).setRate("options.rate", rate)
        const [row] = yield* (yield* PgClient.PgClient)<{ readonly rate: number | null }>`
          select rate from sluice.job_queue where queue = 'options.rate'`
        return row?.rate ?? null
      })
  },
  "pause queue": asked("queue", (admin, options) => admin.pause((options as { readonly queue: string }).queue)),
  ...Object.fromEntries(
    ["queue", "kind", "state", "before", "limit"].map((name) => [
      `list ${name}`,
      asked(name, (admin, options) => admin.list(options))
    ])
  ),
  ...Object.fromEntries(
    ["queue", "kind", "reason", "ids", "limit"].flatMap((name) => [
      [`preview ${name}`, asked(name, (admin, options) => admin.preview(options))],
      [`redrive ${name}`, asked(name, (admin, options) => admin.redrive(options))]
    ])
  ),
  "redrive ratePerSecond": asked("ratePerSecond", (admin, options) => admin.redrive({}, options))
}

/** How many rows there are in what an option could write. */
const rows = Effect.flatMap(PgClient.PgClient, (sql) =>
  Effect.map(
    sql<
      { readonly n: number }
    >`select (select count(*) from sluice.job)::int4 + (select count(*) from sluice.job_history)::int4
      + (select count(*) from sluice.job_queue)::int4 as n`,
    ([row]) => row?.n
  ))

withLayer(PostgresJobQueue.layerWith({ listen: false }).pipe(Layer.provideMerge(TestDatabase.layer)), {
  excludeTestServices: true
})(
  "options",
  (it) => {
    for (const [where, point] of Object.entries(table)) {
      it.effect(`${where}: refused by name, or as given`, () =>
        Effect.gen(function*() {
          let refused = 0
          for (const [what, value] of Object.entries(values)) {
            const before = yield* rows
            const exit = yield* Effect.exit(Effect.suspend(() => point.apply(value as never)))
            const about = `${where} = ${what}`
            if (Exit.isSuccess(exit)) {
              // -0 is 0.
              assert.equal(exit.value, (point.expected ?? ((same) => same))(value), about)
              continue
            }
            const [reason] = exit.cause.reasons
            const error = reason?._tag === "Fail" ? reason.error : reason
            assert.instanceOf(error, JobOptionInvalid, `${about}: ${String(error)}`)
            if (!(error instanceof JobOptionInvalid)) return
            assert.strictEqual(error.option, point.option, about)
            assert.match(error.message, /: expected \S/, about)
            assert.isBelow(error.message.length, 400, about)
            assert.strictEqual(yield* rows, before, `${about}: nothing is stored`)
            refused++
          }
          assert.isAtLeast(refused, 10)
        }), 30_000)
    }

    it.effect("two handlers of one kind: one of them would never run", () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(refusable(() => Worker.layer([handler, handler])))
        assert.strictEqual(
          error.message,
          "JobWorker.layer, kind \"options\": handlers is two: expected one for each kind"
        )
      }))

    it.effect("an id that no job can have is nobody's, and no question to the database", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        for (const id of ["", "x", "-1", "1.5", "007", "9223372036854775808", "9".repeat(30), "1\u0000"]) {
          // Only the type forbids it.
          assert.isTrue(Option.isNone(yield* queue.find(id as Job.JobId)), id)
          assert.strictEqual((yield* Effect.flip(queue.cancel(id as Job.JobId)))._tag, "JobNotFound")
          assert.strictEqual((yield* Effect.flip(queue.ended(id as Job.JobId)))._tag, "JobNotFound")
        }
        assert.isTrue(Option.isNone(yield* queue.find(Job.JobId.make("9223372036854775807"))))
      }))

    it.effect("a timetable that never comes is refused, and one that seldom does is not", () =>
      Effect.sync(() => {
        const make = (expression: string, timeZone = "UTC") => JobCron.make("c", expression, kind, null, { timeZone })
        for (const never of ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 31 2 *"]) {
          const made = make(never)
          assert.isTrue(Result.isFailure(made) && made.failure.message.includes("no day of any year"), never)
        }
        for (const wrong of ["", "* * * *", "60 * * * *", "a b c d e", "* * * * *\u0000"]) {
          assert.isTrue(Result.isFailure(make(wrong)), wrong)
        }
        assert.isTrue(Result.isFailure(make("* * * * *", "Mars/Olympus")))
        for (const seldom of ["0 0 29 2 *", "0 3 * * *", "59 59 23 31 12 *"]) {
          assert.isTrue(Result.isSuccess(make(seldom)), seldom)
        }
      }))

    it.effect("what is given as a schedule is one", () =>
      Effect.sync(() => {
        assert.doesNotThrow(() => Job.make("options.retry", { payload: Schema.Null, retry: Schedule.forever }))
      }))
  }
)
