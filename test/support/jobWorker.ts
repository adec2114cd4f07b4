/**
 * A worker process for tests that kill, freeze and cut off workers. DATABASE_URL names the database; arguments are a mode
 * and its number. It prints `{"ready": pid}` when it works, and what its handlers tell.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as PgClient from "@effect/sql-pg/PgClient"
import { Console, Effect, Layer, Logger, Schedule } from "effect"
import * as PostgresJobQueue from "../../src/layers/jobs/PostgresJobQueue.ts"
import * as Worker from "../../src/layers/jobs/worker/Worker.ts"
import * as Database from "../../src/layers/postgres/Database.ts"
import * as JobHandler from "../../src/services/jobs/JobHandler.ts"
import { JobWorker } from "../../src/services/jobs/JobWorker.ts"
import { ChaosFirst, ChaosKeyed, ChaosLast, ChaosPlain, Effect1, Freeze, Ping, Transfer } from "./jobKinds.ts"

const say = (line: unknown): Effect.Effect<void> => Console.log(JSON.stringify(line))

/** Its effect happens once per job, or the primary key refuses it. */
const effect1 = Effect.map(
  PgClient.PgClient,
  (sql) =>
    JobHandler.transactional(
      Effect1,
      ({ n }, { attempt }) =>
        Effect.asVoid(sql`insert into effect1 (n, attempt, worker) values (${n}, ${attempt}, ${process.pid})`)
    )
)

/** Says that it is inside its transaction, and stays there for a moment. */
const freeze = Effect.map(
  PgClient.PgClient,
  (sql) =>
    JobHandler.transactional(Freeze, ({ n }, { attempt }) =>
      Effect.gen(function*() {
        yield* sql`update frozen set effects = effects + 1 where n = ${n}`
        yield* say({ inside: n, attempt })
        yield* Effect.sleep(attempt === 1 ? "1 second" : 0)
      }))
)

const transfer = Effect.map(
  PgClient.PgClient,
  (sql) =>
    JobHandler.transactional(Transfer, ({ amount, from, to }, { id }) =>
      Effect.gen(function*() {
        // Twice would be refused by the primary key.
        yield* sql`insert into moved (job) values (${BigInt(id)})`
        const rows = yield* sql<{ readonly id: number; readonly balance: number }>`
        select id, balance from bank where id in (${from}, ${to}) order by id for update`
        const source = rows.find((row) => row.id === from)
        if (from === to || source === undefined || source.balance < amount) return
        yield* sql`update bank set balance = balance - ${amount} where id = ${from}`
        yield* sql`update bank set balance = balance + ${amount} where id = ${to}`
      }), { maxGroup: 8 })
)

const ping = Effect.succeed(
  JobHandler.plain(Ping, ({ sent }) => say({ pong: sent, at: performance.timeOrigin + performance.now() }))
)

/** A pause within a transaction, so that a strike meets it before and after each of its statements. */
const moment = (n: number) => Effect.sleep(n % 7 === 0 ? 20 : n % 3)

const chaos = Effect.map(PgClient.PgClient, (sql) => {
  const write = (kind: string, n: number) =>
    Effect.andThen(
      moment(n),
      Effect.andThen(sql`insert into chaos (kind, n) values (${kind}, ${n})`, moment(n + 1))
    )
  return [
    // At least once: no primary key forbids it.
    JobHandler.plain(ChaosPlain, ({ n }) => Effect.andThen(moment(n), sql`insert into chaos_plain (n) values (${n})`)),
    JobHandler.transactional(ChaosLast, ({ n }) => Effect.asVoid(write("last", n)), { maxGroup: 4 }),
    JobHandler.transactional(ChaosKeyed, ({ n }) => Effect.asVoid(write("keyed", n)), { maxGroup: 1 }),
    JobHandler.batch(
      ChaosFirst,
      (items) => Effect.forEach(items, ({ payload }) => write("first", payload.n), { discard: true }),
      { settle: "first", maxSize: 5 }
    )
  ]
})

const program = Layer.unwrap(
  Effect.map(
    Effect.all([effect1, freeze, transfer, ping, chaos]),
    (handlers) =>
      Worker.layer(handlers.flat(), { concurrency: 8, lease: "2 seconds", beat: "250 millis", poll: "500 millis" })
  )
)

const ready = Layer.effectDiscard(Effect.andThen(JobWorker, say({ ready: process.pid })))

Layer.launch(ready.pipe(
  Layer.provide(program),
  Layer.provide(PostgresJobQueue.layer),
  Layer.provide(Database.layerConfig({ poolMin: 1, poolMax: 6, schema: "ignore" })),
  Layer.provide(
    Logger.layer(process.env["SLUICE_TEST_LOG"] === "1" ? [Logger.withConsoleError(Logger.formatLogFmt)] : [])
  )
)).pipe(
  // The database may be starting again.
  Effect.retry(Schedule.spaced("200 millis")),
  NodeRuntime.runMain
)
