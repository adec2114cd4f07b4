/**
 * The pool of a program that has one already: Sluice's layers work on its connections and in its transactions.
 *
 * Workers open up to six connections of their own beside it, configured as the pool is (`JobConnections`).
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import { Context, Duration, Effect, Layer, Redacted } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { Database, ReadClient, type Services } from "./Database.ts"
import { DatabaseError, DatabaseFailed, fromSqlError } from "./DatabaseError.ts"
import * as SessionSettings from "./SessionSettings.ts"
import * as Tables from "./Tables.ts"

export interface Options {
  /** What each lane that is used does about its tables. @default "check" */
  readonly schema?: Tables.SchemaPolicy | undefined
}

/**
 * What Sluice asks of each session, for the `startupParameters` of a pool: that the server itself ends what a process leaves behind that is
 * killed, frozen or cut off. A pooler such as PgBouncer takes none of them.
 *
 * @default statementTimeout "60 seconds"
 */
export const sessionSettings = (statementTimeout?: Duration.Input): SessionSettings.SessionSettings =>
  SessionSettings.all(Duration.toMillis(Duration.fromInputUnsafe(statementTimeout ?? "60 seconds")))

/** Its address for people, without a password. */
const whereOf = ({ database, host, path, port, url }: PgClient.PgClientConfig): string => {
  const text = url === undefined ? "" : Redacted.value(url)
  if (!URL.canParse(text)) {
    return `${path ?? host ?? "localhost"}${port === undefined ? "" : `:${port}`}/${database ?? ""}`
  }
  const parsed = new URL(text)
  return `${parsed.searchParams.get("host") ?? parsed.host}${parsed.pathname}`
}

/** A pool may read types in ways of its own, and Sluice's statements would be misread without a word. */
const assertUnderstood = Effect.fnUntraced(function*(sql: PgClient.PgClient, where: string) {
  const [row] = yield* sql<{ readonly whole: unknown; readonly moment: unknown; readonly list: unknown }>`
    select 1::int8 as whole, now() as moment, array['a'] as list`.pipe(
    Effect.mapError((error) => fromSqlError(error, where))
  )
  const isUnderstood = typeof row?.whole === "bigint" && row.moment instanceof Date && Array.isArray(row.list)
  const detail = "the pool that was given reads int8, timestamptz or arrays in a way of its own (`types`): " +
    "give it the types it has by default, or open a pool for Sluice with Database.layer"
  return yield* isUnderstood
    ? Effect.void
    : Effect.fail(new DatabaseError({ reason: new DatabaseFailed({ where, detail }) }))
})

/** The same pool, with the names of columns as the database has them; connections that are made by its configuration have them too. */
const plain = (given: PgClient.PgClient): PgClient.PgClient => {
  const { transformResultNames, ...config } = given.config
  return transformResultNames === undefined ? given : Object.assign(given.withoutTransforms(), { config })
}

/**
 * What `Database.layer` provides, over the `PgClient` in context: what is enqueued in a transaction of that client is part of it. Names of
 * columns are not transformed for Sluice, whatever the pool does for others. Provide it to Sluice's layers with `Layer.provide`, and the
 * program keeps its own client.
 *
 * @example PostgresJobQueue.layer.pipe(Layer.provide(OwnPool.layer()), Layer.provideMerge(AppPgClient))
 */
export const layer = (options: Options = {}): Layer.Layer<Services, DatabaseError, PgClient.PgClient> =>
  Layer.effectContext(Effect.gen(function*() {
    const given = yield* PgClient.PgClient
    const where = whereOf(given.config)
    const sql = plain(given)
    yield* assertUnderstood(sql, where)
    const place = { sql, where, isEmbedded: false }
    return Context.make(Database, {
      where,
      isEmbedded: false,
      // Its owner knows.
      connectionsMax: undefined,
      tables: Tables.make(place, options.schema ?? "check")
    }).pipe(
      Context.add(PgClient.PgClient, sql),
      Context.add(SqlClient.SqlClient, sql),
      Context.add(ReadClient, sql)
    )
  }))
