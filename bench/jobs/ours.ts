/** Sluice's side of `bench -- jobs`: each workload on the database of `url`, as an Effect that answers a figure. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { Clock, Effect, Layer, Logger, Redacted, Schema } from "effect"
import * as PostgresJobQueue from "../../src/layers/jobs/PostgresJobQueue.ts"
import * as Worker from "../../src/layers/jobs/worker/Worker.ts"
import * as Database from "../../src/layers/postgres/Database.ts"
import * as Job from "../../src/services/jobs/Job.ts"
import * as JobHandler from "../../src/services/jobs/JobHandler.ts"
import { JobQueue } from "../../src/services/jobs/JobQueue.ts"
import { JobWorker, type WorkerOptions } from "../../src/services/jobs/JobWorker.ts"

export const Noop = Job.make("bench.noop", { payload: Schema.Struct({ n: Schema.Finite }) })
export const Touch = Job.make("bench.touch", { payload: Schema.Struct({ n: Schema.Finite }) })
export const Ping = Job.make("bench.ping", { payload: Schema.Struct({ at: Schema.Finite }) })

export const layer = (url: string) =>
  PostgresJobQueue.layer.pipe(
    Layer.provideMerge(Database.layer({ url: Redacted.make(url), schema: "migrate", poolMin: 2, poolMax: 12 })),
    Layer.provide(Logger.layer([]))
  )

export const payloads = (count: number) => Array.from({ length: count }, (_, n) => ({ n }))

const timed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const from = yield* Clock.currentTimeNanos
    yield* effect
    return Number((yield* Clock.currentTimeNanos) - from) / 1e9
  })

/** Seconds from before a worker with these handlers starts until it has settled so many. */
const working = <R>(
  count: number,
  handlers: ReadonlyArray<JobHandler.Handler<R>>,
  options: WorkerOptions = {}
) =>
  Effect.flatMap(Clock.currentTimeNanos, (from) =>
    Effect.provide(
      Effect.andThen(
        settled(count),
        Effect.map(Clock.currentTimeNanos, (to) => Number(to - from) / 1e9)
      ),
      Worker.layer(handlers, options)
    ))

/** Waits until a worker has settled so many. */
const settled = (count: number) =>
  Effect.gen(function*() {
    const worker = yield* JobWorker
    yield* Effect.repeat(Effect.delay(worker.status, 5), { until: (status) => status.settled >= count })
  })

/** No-op jobs per second, from the start of the worker to its last settle. */
export const noop = (count: number, options: WorkerOptions = {}) =>
  Effect.gen(function*() {
    const queue = yield* JobQueue
    yield* queue.enqueueMany(Noop, payloads(count))
    const seconds = yield* working(count, [JobHandler.plain(Noop, () => Effect.void)], options)
    return count / seconds
  })

/** No-op jobs per second of the first `count` of those that wait already. */
export const noopOf = (count: number) =>
  Effect.map(
    working(count, [JobHandler.plain(Noop, () => Effect.void)]),
    (seconds) => count / seconds
  )

const accounts = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  yield* sql`create table if not exists bench_account (id int primary key, balance bigint not null) with (fillfactor = 50)`
  yield* sql`truncate bench_account`
  yield* sql`insert into bench_account select g, 0 from generate_series(0, 999) g`
})

/** Jobs per second whose handler is one UPDATE in the transaction that settles them. */
export const transactional = (count: number, options: WorkerOptions = {}) =>
  Effect.gen(function*() {
    yield* accounts
    const queue = yield* JobQueue
    const sql = yield* PgClient.PgClient
    yield* queue.enqueueMany(Touch, payloads(count))
    const handler = JobHandler.transactional(Touch, ({ n }) =>
      Effect.asVoid(sql`update bench_account set balance = balance + 1 where id = ${n % 1000}`))
    const seconds = yield* working(count, [handler], options)
    const [sum] = yield* sql<{ readonly sum: string }>`select sum(balance)::text as sum from bench_account`
    return Number(sum?.sum) === count ? count / seconds : yield* Effect.die(`sum ${sum?.sum} is not ${count}`)
  })

/** The same effects, a batch at a time. */
export const batch = (count: number, options: WorkerOptions = {}) =>
  Effect.gen(function*() {
    yield* accounts
    const queue = yield* JobQueue
    const sql = yield* PgClient.PgClient
    yield* queue.enqueueMany(Touch, payloads(count))
    const handler = JobHandler.batch(Touch, (items) =>
      Effect.asVoid(sql`update bench_account a set balance = a.balance + u.n from
        (select id, count(*) as n from unnest(${
        items.map((item) => item.payload.n % 1000)
      }::int4[]) as u(id)
         group by id order by id) u where a.id = u.id`))
    const seconds = yield* working(count, [handler], options)
    const [sum] = yield* sql<{ readonly sum: string }>`select sum(balance)::text as sum from bench_account`
    return Number(sum?.sum) === count ? count / seconds : yield* Effect.die(`sum ${sum?.sum} is not ${count}`)
  })

export const enqueueBulk = (count: number, chunk = 1000) =>
  Effect.gen(function*() {
    const queue = yield* JobQueue
    const chunks = Array.from({ length: count / chunk }, () => payloads(chunk))
    return count / (yield* timed(Effect.forEach(chunks, (some) => queue.enqueueMany(Noop, some), { concurrency: 2 })))
  })

export const enqueueOneByOne = (count: number, concurrency = 16) =>
  Effect.gen(function*() {
    const queue = yield* JobQueue
    return count /
      (yield* timed(Effect.forEach(payloads(count), (one) => queue.enqueue(Noop, one), { concurrency, discard: true })))
  })

export const empty = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  yield* sql`truncate sluice.job, sluice.job_history, sluice.job_dead, sluice.job_delta, sluice.job_count, sluice.job_worker`
})
