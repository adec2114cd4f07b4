/**
 * A Postgres, whichever it is, as the processes of a world have it: everything of the house down to the bytes that it
 * sends, and its SQL.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import { Effect, Layer } from "effect"
import * as PostgresFrontier from "../../../src/layers/fetch/PostgresFrontier.ts"
import * as PostgresFetchKeys from "../../../src/layers/http/PostgresFetchKeys.ts"
import * as PostgresJobQueue from "../../../src/layers/jobs/PostgresJobQueue.ts"
import * as Migrations from "../../../src/layers/postgres/Migrations.ts"
import * as OrdersApp from "../../../src/programs/orders/App.ts"
import { JobQueueError } from "../../../src/services/jobs/JobError.ts"
import * as SqlFailure from "../../../src/services/postgres/SqlFailure.ts"
import type { Kernel } from "../kernel/Kernel.ts"
import { Network, type Server } from "../kernel/Network.ts"
import { Process } from "../kernel/Process.ts"
import * as Client from "./Client.ts"
import { type Control, EffectTable, type Inspection, shelves, type Store } from "./Level.ts"
import type { ServerFaults } from "./ServerFaults.ts"

/** What a store needs of its server. */
export interface SqlServer extends Server {
  kernel: Kernel
  readonly faults: ServerFaults
  readonly statements: number
  readonly wrong: ReadonlySet<string>
  readonly exec: (sql: string) => void
  readonly restart: (millis: number) => void
  readonly hang: (millis: number) => void
  readonly heal: () => void
}

const tables = `
  create table effects (id bigint generated always as identity, n int not null, kind text not null, key int);
  create table shelf (id int primary key, v int not null);
  insert into shelf select i, 0 from generate_series(0, ${shelves - 1}) i`

/** Makes the schema, through the wire and the real client, and the scenes' own tables. */
export const prepare = (server: SqlServer): void => {
  const { kernel } = server
  const network = new Network(kernel)
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

const controlOf = (server: SqlServer): Control => ({
  restart: (millis) => server.restart(millis),
  hang: (millis) => server.hang(millis),
  trouble: (kind, millis) => server.faults.begin(kind, millis),
  breakage: (before, after) => {
    server.faults.breakage = { before, after }
  },
  heal: () => server.heal()
})

/** The store of one world on that server. */
export const make = (server: SqlServer, network: Network, inspect: Inspection): Store => {
  const before = server.statements
  const client = (process: Process) => Client.layer(() => network.connect(process, server), process.name)
  return {
    jobs: (process) => Layer.provide(Layer.merge(PostgresJobQueue.layer, effectTable), client(process)),
    shop: (process) => Layer.provide(OrdersApp.layer, client(process)),
    fetches: (process) => Layer.provide(Layer.merge(PostgresFrontier.layer, PostgresFetchKeys.layer), client(process)),
    inspect,
    control: controlOf(server),
    wrong: server.wrong,
    missesTheSilent: true,
    isWaitedFor: true,
    statements: () => server.statements - before,
    close: () => {
      for (const wire of network.wires) wire.endedByServer(undefined)
    }
  }
}
