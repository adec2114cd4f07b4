/**
 * The schema `sluice`, step by step.
 *
 * Effect's Migrator runs only ids above the latest recorded one, so wings that grow side by side would skip each other's
 * steps in one list. Each wing therefore has a **track** of its own: a list of steps numbered from 1 without gaps, and its
 * own table `sluice.migrations_<track>`. To add a step: add a file `schema/<track>/NNNN_what.sql` and name it in
 * `schema/<track>.ts`. A step that has been released is never changed, only followed.
 * Tracks run in the order of `tracks` below, all in one transaction: a step may rely on earlier tracks as they are at the
 * time of its landing, never on later tracks.
 *
 * In a step, name things with their schema (`sluice.jobs`): nobody's search_path is changed.
 */
import { Effect, Option } from "effect"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { DatabaseError, fromSqlError, MigrationFailed, SchemaOutdated, SchemaTooNew } from "./DatabaseError.ts"
import { fetch } from "./schema/fetch.ts"
import { jobs } from "./schema/jobs.ts"
import { orders } from "./schema/orders.ts"

/** The steps of one wing: `"1_tables"`, `"2_priorities"`, ... */
export interface Track {
  /** Lower-case letters and `_`. */
  readonly name: string
  /** The tracks that its steps and functions use. */
  readonly needs?: ReadonlyArray<string>
  readonly steps: Readonly<Record<string, Effect.Effect<void, SqlError, SqlClient.SqlClient>>>
}

const byName = { fetch, jobs, orders } satisfies Readonly<Record<string, Track>>

/** The tracks by name: what a lane asks for. */
export type TrackName = keyof typeof byName

/** All tracks, in the order in which they are applied. */
export const tracks: ReadonlyArray<Track> = Object.values(byName)

/** The names of all tracks. */
export const trackNames: ReadonlyArray<TrackName> = ["fetch", "jobs", "orders"]

/** These tracks and those that they need, in the order in which they are applied. */
export const tracksOf = (names: ReadonlyArray<TrackName>): ReadonlyArray<Track> => {
  const wanted = new Set<string>(names)
  // A track relies on earlier ones only.
  for (const { name, needs } of tracks.toReversed()) {
    if (wanted.has(name)) { for (const need of needs ?? []) wanted.add(need) }
  }
  return tracks.filter(({ name }) => wanted.has(name))
}

/** Any number will do, as long as all versions of Sluice use the same. */
const advisoryLock = 7_210_414_115

const stepIds = (track: Track): ReadonlyArray<readonly [id: number, name: string]> =>
  Object.keys(track.steps).map((key) => [Number(key.split("_")[0]), `${track.name}/${key}`] as const)

const latestId = (track: Track): number => Math.max(0, ...stepIds(track).map(([id]) => id))

const tableOf = (track: Track): string => `sluice.migrations_${track.name}`

/** The id of the latest step of each track that the database has: one statement; all zero when there is no schema. */
const recorded = Effect.fnUntraced(function*(all: ReadonlyArray<Track>) {
  const sql = yield* SqlClient.SqlClient
  const known = yield* sql<{ readonly track: string }>`
    select substring(tablename from 12) as track from pg_tables
    where schemaname = 'sluice' and tablename like 'migrations\\_%'`
  const names = new Set(known.map((row) => row.track))
  const queries = all.filter((track) => names.has(track.name)).map((track) =>
    `select '${track.name}' as track, coalesce(max(migration_id), 0) as id from ${tableOf(track)}`
  )
  if (queries.length === 0) return new Map<string, number>()
  const rows = yield* sql.unsafe<{ readonly track: string; readonly id: number }>(queries.join(" union all "))
  return new Map(rows.map((row) => [row.track, row.id] as const))
})

export interface Status {
  /** Steps that the database lacks. */
  readonly missing: ReadonlyArray<string>
  /** Steps that it has and this Sluice does not know. */
  readonly unknown: ReadonlyArray<string>
}

/** Compares the database with the tracks. */
export const status = Effect.fn("Migrations.status")(function*(all: ReadonlyArray<Track> = tracks) {
  const ids = yield* recorded(all)
  return all.reduce<Status>((sum, track) => {
    const id = ids.get(track.name) ?? 0
    const missing = stepIds(track).filter(([step]) => step > id).map(([, name]) => name)
    const unknown = id > latestId(track) ? [`${track.name}/${id}`] : []
    return { missing: [...sum.missing, ...missing], unknown: [...sum.unknown, ...unknown] }
  }, { missing: [], unknown: [] })
})

const runMigrator = Migrator.make({})

const runTrack = (track: Track) =>
  runMigrator({ loader: Migrator.fromRecord(track.steps), table: tableOf(track) }).pipe(
    Effect.map((done) => done.map(([id, name]) => `${track.name}/${id}_${name}`))
  )

/** Applies what is missing, all or nothing, one process at a time; gives back the names of the steps it applied. */
export const run = Effect.fn("Migrations.run")(function*(
  where: string,
  all: ReadonlyArray<Track> = tracks
): Effect.fn.Return<ReadonlyArray<string>, DatabaseError, SqlClient.SqlClient> {
  const sql = yield* SqlClient.SqlClient
  const upgrade = Effect.gen(function*() {
    yield* sql`set local statement_timeout = 0`
    yield* sql`select pg_advisory_xact_lock(${advisoryLock})`
    yield* sql`create schema if not exists sluice`
    const applied = yield* Effect.forEach(all, runTrack)
    return applied.flat()
  })
  return yield* sql.withTransaction(upgrade).pipe(
    Effect.catchTags({
      SqlError: (error) => Effect.fail(fromSqlError(error, where)),
      MigrationError: (error) => Effect.fail(explain(error, where))
    })
  )
})

const explain = (error: Migrator.MigrationError, where: string): DatabaseError => {
  const cause = error.cause
  const detail = Option.match(sqlDetail(cause), { onNone: () => error.message, onSome: (text) => text })
  const migration = /"(.+?)"/.exec(error.message)?.[1] ?? error.kind
  return new DatabaseError({ reason: new MigrationFailed({ where, migration, detail }) })
}

/** The server's words, when the migration failed at one of its statements. */
const sqlDetail = (cause: unknown): Option.Option<string> => {
  if (typeof cause !== "object" || cause === null || !("reason" in cause)) return Option.none()
  const reason = cause.reason
  if (typeof reason !== "object" || reason === null || !("cause" in reason)) return Option.none()
  return reason.cause instanceof Error ? Option.some(reason.cause.message) : Option.none()
}

/** Fails when the schema is not the one this Sluice needs. */
export const check = Effect.fn("Migrations.check")(function*(
  where: string,
  all: ReadonlyArray<Track> = tracks
): Effect.fn.Return<void, DatabaseError, SqlClient.SqlClient> {
  return yield* judge(where, yield* status(all).pipe(Effect.mapError((error) => fromSqlError(error, where))))
})

/** Fails with what a status means for a program that needs the schema as it knows it. */
const judge = (where: string, { missing, unknown }: Status): Effect.Effect<void, DatabaseError> =>
  missing.length > 0
    ? Effect.fail(new DatabaseError({ reason: new SchemaOutdated({ where, missing }) }))
    : unknown.length > 0
    ? Effect.fail(new DatabaseError({ reason: new SchemaTooNew({ where, unknown }) }))
    : Effect.void
