/** The database as a simulated process has it: the real clients, over simulated sockets. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { Context, Effect, Layer } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Duplex } from "node:stream"
import { Database, ReadClient } from "../../../src/layers/postgres/Database.ts"
import type { SimulatedSocket } from "../kernel/Network.ts"

export type Services = Database | PgClient.PgClient | SqlClient.SqlClient | ReadClient

export const layer = (connect: () => SimulatedSocket, name: string): Layer.Layer<Services, SqlError> =>
  Layer.effectContext(Effect.gen(function*() {
    const base = {
      username: "sluice",
      database: "postgres",
      ssl: false,
      // The part of a Duplex that the client uses.
      stream: connect as unknown as () => Duplex,
      applicationName: name,
      // Shorter than in earnest: a transaction that stands still holds up everybody here, and not only who wants its rows.
      startupParameters: { statement_timeout: "30000", idle_in_transaction_session_timeout: "8000" }
    } as const
    const client = yield* PgClient.make({ ...base, minConnections: 1, maxConnections: 5 })
    const reader = yield* PgClient.make({ ...base, maxConnections: 2, multiplex: true, multiplexConcurrency: 4 })
    return Context.make(PgClient.PgClient, client).pipe(
      Context.add(SqlClient.SqlClient, client),
      Context.add(ReadClient, reader),
      Context.add(Database, {
        where: "the simulation",
        isEmbedded: false,
        connectionsMax: 7,
        tables: () => Effect.void
      })
    )
  })).pipe(Layer.provide(Reactivity.layer))
