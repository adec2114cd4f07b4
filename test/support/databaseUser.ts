/**
 * A program that uses the embedded database, for tests that need real processes. Arguments: data directory, mode.
 * It prints one JSON line when it is ready; `hold` then stays until its stdin ends, `write` commits row after row and
 * prints each number after its commit. Interrupted, it writes one more row, as a program that saves its state would.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as PgClient from "@effect/sql-pg/PgClient"
import { Effect, Layer, Logger, Schedule } from "effect"
import * as Database from "../../src/layers/postgres/Database.ts"
import * as EmbeddedPostgres from "../../src/layers/postgres/EmbeddedPostgres.ts"

const [directory = "", mode = "hold"] = process.argv.slice(2)
const say = (value: unknown): Effect.Effect<void> => Effect.sync(() => console.log(JSON.stringify(value)))

const write = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  yield* sql`create table if not exists public.written (n int primary key)`
  for (let n = 0;; n++) {
    yield* sql`insert into public.written values (${n})`
    yield* say({ committed: n })
  }
})

const stdinEnds = Effect.callback<void>((resume) => {
  process.stdin.on("end", () => resume(Effect.void))
  process.stdin.resume()
})

const save = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  yield* Effect.sleep("300 millis")
  yield* sql`create table if not exists public.saved (id int generated always as identity)`
  yield* sql`insert into public.saved default values`
  yield* say({ saved: true })
})

/** Asks once a line from stdin comes: the server may have been replaced meanwhile, and a pool tries again. */
const ask = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  yield* stdinEnds
  const rows = yield* sql`select 1 as one`.pipe(
    Effect.retry(Schedule.max([Schedule.spaced("50 millis"), Schedule.recurs(200)]))
  )
  yield* say({ answered: rows })
})

const program = Effect.gen(function*() {
  const { processes } = yield* EmbeddedPostgres.EmbeddedPostgres
  yield* say({ ready: yield* processes, pid: process.pid })
  if (mode === "write") return yield* write
  if (mode === "ask") return yield* ask
  return yield* stdinEnds
}).pipe(
  Effect.onInterrupt(() => Effect.orDie(save)),
  Effect.provide(Layer.mergeAll(
    Database.layer({ directory, poolMin: 1 }),
    EmbeddedPostgres.layer({ directory }),
    Logger.layer([])
  )),
  Effect.catchTag("DatabaseError", (error) => say({ failed: error.reason._tag, message: error.message })),
  Effect.catch((error) => say({ failed: error._tag, message: error.message })),
  Effect.andThen(say({ closed: true }))
)

NodeRuntime.runMain(program)
