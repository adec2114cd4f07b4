/**
 * The tables of the lanes that are used, and of no others: each layer that works on tables asks for those of its track as it is built. So
 * a program that only has jobs has only their tables in its database, and nobody has to say which.
 */
import { Effect, Schedule, Semaphore } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { type DatabaseError, fromSqlError } from "./DatabaseError.ts"
import * as Migrations from "./Migrations.ts"

/**
 * What to do about the tables of a lane when it is opened: `migrate` brings them up to date, `check` fails with `SchemaOutdated`, `ignore`
 * does not look.
 */
export type SchemaPolicy = "migrate" | "check" | "ignore"

/** The database whose tables these are. */
export interface Place {
  readonly sql: SqlClient.SqlClient
  readonly where: string
  /** Whether the server is ours: it may be replaced as we come, when somebody kills it or its supervisor, and will be back. */
  readonly isEmbedded: boolean
}

const comesBack: ReadonlySet<string> = new Set(["ServerBusy", "Unreachable"])
const comeback = Schedule.max([Schedule.spaced("50 millis"), Schedule.recurs(200)])

const patiently = ({ isEmbedded }: Place) => <A>(self: Effect.Effect<A, DatabaseError>) =>
  Effect.retry(self, { schedule: comeback, while: (error) => isEmbedded && comesBack.has(error.reason._tag) })

/** Asks for a connection and an answer. */
export const connect = (place: Place): Effect.Effect<void, DatabaseError> =>
  place.sql`select 1`.pipe(
    Effect.asVoid,
    Effect.mapError((error) => fromSqlError(error, place.where)),
    patiently(place)
  )

const settle = Effect.fnUntraced(
  function*(policy: SchemaPolicy, where: string, tracks: ReadonlyArray<Migrations.Track>) {
    // The usual start finds all there, and must not queue for the migration's lock behind other processes.
    const { missing, unknown } = yield* Migrations.status(tracks).pipe(
      Effect.mapError((error) => fromSqlError(error, where))
    )
    if (policy === "migrate" && missing.length > 0) yield* Migrations.run(where, tracks)
    else if (missing.length + unknown.length > 0) yield* Migrations.check(where, tracks)
  }
)

/** Sees to the tables of a track and of those below it, once each, as the policy says. */
export const make = (
  place: Place,
  policy: SchemaPolicy
): (track: Migrations.TrackName) => Effect.Effect<void, DatabaseError> => {
  const ready = new Set<Migrations.TrackName>()
  // One after another: tracks share tracks below them.
  const alone = Semaphore.withPermits(Semaphore.makeUnsafe(1), 1)
  return (track) => {
    const unlessReady = (self: Effect.Effect<void, DatabaseError>) =>
      Effect.suspend(() => policy === "ignore" || ready.has(track) ? Effect.void : self)
    const once = settle(policy, place.where, Migrations.tracksOf([track])).pipe(
      Effect.provideService(SqlClient.SqlClient, place.sql),
      patiently(place),
      Effect.tap(() => Effect.sync(() => void ready.add(track)))
    )
    return unlessReady(alone(unlessReady(once)))
  }
}
