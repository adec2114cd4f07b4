/**
 * Workers and their server under everything that may happen to them, the lost machine among it: frozen and then killed
 * without ever being thawed. After each strike and at the end the invariant of the schema holds; at the end all that
 * was accepted has ended.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Queue, Schedule, type Scope } from "effect"
import { join } from "node:path"
import * as PostgresJobQueue from "../../../src/layers/jobs/PostgresJobQueue.ts"
import * as Database from "../../../src/layers/postgres/Database.ts"
import * as EmbeddedPostgres from "../../../src/layers/postgres/EmbeddedPostgres.ts"
import { JobQueue } from "../../../src/services/jobs/JobQueue.ts"
import * as Child from "../../support/Child.ts"
import { eventually } from "../../support/eventually.ts"
import { assertInvariant } from "../../support/jobInvariant.ts"
import { ChaosFirst, ChaosKeyed, ChaosLast, ChaosPlain } from "../../support/jobKinds.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const isLong = process.env["SLUICE_LONG"] === "1"
const rounds = isLong ? 10 : 1
const perStrike = 40
const program = join(import.meta.dirname, "../../support/jobWorker.ts")

/** The database is away for moments: whoever asks, asks again. */
const patiently = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.sandbox(effect).pipe(Effect.retry(Schedule.spaced("50 millis")))

const startWorker = (directory: string) =>
  Effect.tap(
    Child.start(program, [], { env: { DATABASE_URL: undefined, SLUICE_DATA_DIR: directory } }),
    (child) => Queue.take(child.lines)
  )

type Services = PgClient.PgClient | JobQueue | EmbeddedPostgres.EmbeddedPostgres | Scope.Scope

/** Something terrible; `true` when the victim will not come back by itself. */
type Strike = (victim: Child.Child) => Effect.Effect<boolean, unknown, Services>

const signal = (victim: Child.Child, name: NodeJS.Signals) => Effect.sync(() => victim.process.kill(name))
/** Longer than the lease of these workers (2 s), and than the server waits in a transaction of theirs. */
const pastLease = Effect.sleep("3 seconds")

const strikes: Readonly<Record<string, Strike>> = {
  "killed": (victim) => Effect.as(signal(victim, "SIGKILL"), true),
  "frozen, and lost with its machine": (victim) =>
    signal(victim, "SIGSTOP").pipe(
      Effect.andThen(pastLease),
      Effect.andThen(signal(victim, "SIGKILL")),
      Effect.as(true)
    ),
  "lost, and its sessions stay for a moment": (victim) =>
    signal(victim, "SIGSTOP").pipe(
      Effect.andThen(Effect.sleep("1500 millis")),
      Effect.andThen(signal(victim, "SIGKILL")),
      Effect.as(true)
    ),
  "frozen past its lease, and thawed": (victim) =>
    signal(victim, "SIGSTOP").pipe(
      Effect.andThen(pastLease),
      Effect.andThen(signal(victim, "SIGCONT")),
      Effect.as(false)
    ),
  "told to end": (victim) => Effect.as(signal(victim, "SIGTERM"), true),
  "without half of its backends": () =>
    Effect.as(
      Effect.flatMap(PgClient.PgClient, (sql) =>
        patiently(sql`select pg_terminate_backend(pid) from pg_stat_activity
          where backend_type = 'client backend' and pid <> pg_backend_pid() and random() < 0.5`)),
      false
    ),
  "before a server that is frozen for a while": () =>
    Effect.gen(function*() {
      const server = yield* EmbeddedPostgres.EmbeddedPostgres
      const { serverPid } = yield* patiently(server.processes)
      const sql = yield* PgClient.PgClient
      const backends = yield* patiently(
        sql<{ readonly pid: number }>`select pid from pg_stat_activity where backend_type = 'client backend'`
      )
      const all = [serverPid, ...backends.map(({ pid }) => pid)]
      const each = (name: NodeJS.Signals) =>
        Effect.forEach(all, (pid) => Effect.ignore(Effect.try(() => process.kill(pid, name))), { discard: true })
      yield* each("SIGSTOP").pipe(Effect.andThen(Effect.sleep("1 second")), Effect.ensuring(each("SIGCONT")))
      return false
    }),
  "before jobs that somebody locks for longer than a settle waits": () =>
    Effect.flatMap(PgClient.PgClient, (sql) =>
      Effect.as(
        patiently(sql.withTransaction(Effect.andThen(
          sql`select id from sluice.job where state = 'running' limit 20 for update`,
          Effect.sleep("3 seconds")
        ))),
        false
      ))
}

const chaos = Effect.fnUntraced(function*(directory: string) {
  const sql = yield* PgClient.PgClient
  const queue = yield* JobQueue
  yield* sql`create table chaos (kind text, n int, at bigint generated always as identity, primary key (kind, n))`
  yield* sql`create table chaos_plain (n int)`
  const workers = [yield* startWorker(directory), yield* startWorker(directory)]
  let offered = 0
  const offer = Effect.suspend(() => {
    const from = offered
    offered += perStrike
    const some = Array.from({ length: perStrike }, (_, n) => ({ n: from + n }))
    // All in one transaction: when its answer is lost, it is looked whether it was.
    const all = queue.transaction(
      Effect.forEach(
        [ChaosPlain, ChaosLast, ChaosFirst, ChaosKeyed],
        (kind) => queue.enqueueMany(kind, some),
        { discard: true }
      )
    )
    const [found] = [sql`select from sluice.job where (payload->>'n')::int = ${from} union all
      select from sluice.job_history where (payload->>'n')::int = ${from} limit 1`]
    return patiently(Effect.flatMap(found, (rows) => rows.length > 0 ? Effect.void : all))
  })
  const left = Effect.map(
    sql<{ readonly n: number }>`select count(*)::int4 as n from sluice.job`,
    ([row]) => row?.n ?? 0
  )
  const leftRows = sql`
    select j.*, w.lost_at from sluice.job j left join sluice.job_worker w on w.id = j.worker limit 20`
  for (let round = 0; round < rounds; round++) {
    for (const [index, [what, strike]] of Object.entries(strikes).entries()) {
      yield* offer
      // In the middle of it, elsewhere in each round.
      yield* eventually(patiently(left), (n) => n < perStrike * 4 - ((round * 37 + index * 11) % 100))
      const at = (round + index) % 2
      const victim = workers[at] ?? assert.fail()
      yield* Effect.logInfo(`chaos: a worker is ${what}`)
      const striking = yield* Effect.forkChild(strike(victim))
      if (yield* Fiber.join(striking)) {
        if (what === "told to end") yield* victim.exit
        workers[at] = yield* startWorker(directory)
      }
      yield* patiently(assertInvariant)
    }
  }
  // What the last strike left is taken back within the lease and the bound on transactions.
  yield* eventually(patiently(leftRows), (rows) => rows.length === 0, { within: "90 seconds" })
  yield* assertInvariant
  const effects = yield* sql<{ readonly kind: string; readonly n: number }>`
    select kind, count(*)::int4 as n from chaos group by kind order by kind`
  assert.deepStrictEqual(
    effects.map(({ kind, n }) => [kind, n]),
    ["first", "keyed", "last"].map((kind) => [kind, offered])
  )
  const [plain] = yield* sql<{ readonly n: number }>`select count(distinct n)::int4 as n from chaos_plain`
  assert.strictEqual(plain?.n, offered, "each at least once")
  const wrong = yield* sql`select a.n, b.n as earlier from chaos a join chaos b
    on a.kind = 'keyed' and b.kind = 'keyed' and a.n % 4 = b.n % 4 and a.n < b.n and a.at > b.at limit 5`
  assert.deepStrictEqual(wrong, [], "keys in their order")
  const [ended] = yield* sql<{ readonly succeeded: number; readonly dead: number }>`
    select (select count(*)::int4 from sluice.job_history where state = 'succeeded') as succeeded, (select count(*)::int4 from sluice.job_dead) as dead`
  assert.deepStrictEqual({ ...ended }, { succeeded: offered * 4, dead: 0 })
  // The workers that were lost are forgotten, once nothing of theirs is left.
  yield* eventually(sql`select * from sluice.job_worker`, (rows) => rows.length === 2)
})

it.live(
  "whatever is done to workers and server, every job ends, its effects happen once, and none runs for nobody",
  () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      yield* Effect.provide(
        Effect.scoped(chaos(directory)),
        Layer.mergeAll(
          Layer.provideMerge(PostgresJobQueue.layer, Database.layer({ directory, poolMin: 1 })),
          EmbeddedPostgres.layer({ directory })
        )
      )
    }).pipe(Effect.scoped),
  isLong ? 900_000 : 180_000
)
