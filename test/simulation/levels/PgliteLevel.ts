/** Worlds over a real Postgres in process: everything of the house down to the bytes that it sends, and its SQL. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { Effect, Layer } from "effect"
import * as PostgresFrontier from "../../../src/layers/fetch/PostgresFrontier.ts"
import * as PostgresFetchKeys from "../../../src/layers/http/PostgresFetchKeys.ts"
import * as PostgresJobQueue from "../../../src/layers/jobs/PostgresJobQueue.ts"
import * as Migrations from "../../../src/layers/postgres/Migrations.ts"
import * as OrdersApp from "../../../src/programs/orders/App.ts"
import { JobQueueError } from "../../../src/services/jobs/JobError.ts"
import * as SqlFailure from "../../../src/services/postgres/SqlFailure.ts"
import { Kernel } from "../kernel/Kernel.ts"
import { Network } from "../kernel/Network.ts"
import { Process } from "../kernel/Process.ts"
import * as Client from "./Client.ts"
import { EffectTable, type Level, shelves, type Store } from "./Level.ts"
import { inspectionOf, makeWatch, watchSql } from "./PgliteInspection.ts"
import type { PgliteServer } from "./PgliteServer.ts"

const tables = `
  create table effects (id bigint generated always as identity, n int not null, kind text not null, key int);
  create table shelf (id int primary key, v int not null);
  insert into shelf select i, 0 from generate_series(0, ${shelves - 1}) i`

/** Makes the schema, through the wire and the real client, and the scenes' own tables. */
export const prepare = (server: PgliteServer): void => {
  const kernel = new Kernel(0)
  const network = new Network(kernel)
  server.attach(kernel)
  const process = new Process(kernel, "migrate")
  let outcome: string | undefined
  process.run(
    Migrations.run("the simulation").pipe(
      Effect.provide(Client.layer(() => network.connect(process, server), "migrate")),
      Effect.match({ onFailure: (error) => String(error), onSuccess: () => "done" }),
      Effect.map((what) => {
        outcome = what
      })
    )
  )
  kernel.runWhile(() => outcome === undefined, 60_000)
  process.kill()
  for (const wire of network.wires) wire.endedByServer(undefined)
  if (outcome !== "done") throw new Error(`the schema could not be made: ${outcome}`)
  server.exec(tables)
}

/** The tables, without what the migrations put there. */
const emptied = `do $$ declare names text; begin
  select string_agg(format('%I.%I', schemaname, tablename), ', ') into names from pg_tables
  where schemaname = 'sluice' and tablename not like 'migrations%' and tablename not like 'job_history_2%';
  set local session_replication_role = replica;
  execute 'truncate effects, ' || names || ' restart identity cascade';
  update shelf set v = 0;
end $$`

const effectTable = Layer.effect(
  EffectTable,
  Effect.map(PgClient.PgClient, (sql) =>
    EffectTable.of({
      write: (rows, shelves = []) =>
        Effect.gen(function*() {
          for (const shelf of shelves) yield* sql`update shelf set v = v + 1 where id = ${shelf}`
          for (const { key, kind, n } of rows) {
            yield* sql`insert into effects (n, kind, key) values (${n}, ${kind}, ${key}::int)`
          }
        }).pipe(
          Effect.mapError((error) =>
            new JobQueueError({
              operation: "effects",
              reason: SqlFailure.reasonOf(error),
              detail: SqlFailure.detailOf(error),
              cause: error
            })
          )
        )
    }))
)

/** A store of that server; one world at a time. */
export const level = (server: PgliteServer): Level => ({
  name: "pglite",
  open: (kernel, network): Store => {
    server.attach(kernel)
    server.exec(emptied)
    server.exec(watchSql)
    server.watch = makeWatch()
    const before = server.statements
    const client = (process: Process) => Client.layer(() => network.connect(process, server), process.name)
    return {
      jobs: (process) => Layer.provide(Layer.merge(PostgresJobQueue.layer, effectTable), client(process)),
      shop: (process) => Layer.provide(OrdersApp.layer, client(process)),
      fetches: (process) =>
        Layer.provide(Layer.merge(PostgresFrontier.layer, PostgresFetchKeys.layer), client(process)),
      inspect: inspectionOf(server),
      control: {
        restart: (millis) => server.restart(millis),
        hang: (millis) => server.hang(millis),
        trouble: (kind, millis) => server.faults.begin(kind, millis),
        breakage: (before, after) => {
          server.faults.breakage = { before, after }
        },
        heal: () => server.heal()
      },
      wrong: server.wrong,
      missesTheSilent: true,
      statements: () => server.statements - before,
      close: () => {
        for (const wire of network.wires) wire.endedByServer(undefined)
      }
    }
  }
})
