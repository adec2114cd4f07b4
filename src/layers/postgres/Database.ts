/**
 * The database: the server that `DATABASE_URL` names, else the embedded one.
 *
 * Provides two pools. `PgClient`/`SqlClient` is the plain one, for everything. `ReadClient` pipelines up to four statements on
 * a connection: 1.5 times as fast for reads of a row or so, and wrong for anything slow or any commit, because a slow
 * statement holds up those that share its connection.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import { Config, Context, Duration, Effect, Layer, Option, Redacted, Scope } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { userInfo } from "node:os"
import * as Setting from "../../services/tasks/Setting.ts"
import * as ShortDuration from "../../services/tasks/ShortDuration.ts"
import { DatabaseError, fromSqlError, InvalidDatabaseUrl } from "./DatabaseError.ts"
import * as EmbeddedPostgres from "./EmbeddedPostgres.ts"
import * as Migrations from "./Migrations.ts"
import * as SessionSettings from "./SessionSettings.ts"
import * as Tables from "./Tables.ts"

/** Which database this is. */
export class Database extends Context.Service<Database, {
  /** Its address for people: no password in it. */
  readonly where: string
  readonly isEmbedded: boolean
  /** Sees to the tables of a lane, as the schema policy says; the lanes' own layers ask for theirs as they are built. */
  readonly tables: (track: Migrations.TrackName) => Effect.Effect<void, DatabaseError>
  /** Connections that this process may have open, of both pools; `undefined`: the pool is the program's own. */
  readonly connectionsMax: number | undefined
}>()("sluice/layers/postgres/Database") {}

/** Sees to the tables of a lane, as the database in context was opened to do. */
export const tables = (track: Migrations.TrackName): Effect.Effect<void, DatabaseError, Database> =>
  Effect.flatMap(Database, (database) => database.tables(track))

/** The small pool for point reads; it opens no connection before its first use. */
export class ReadClient extends Context.Service<ReadClient, PgClient.PgClient>()(
  "sluice/layers/postgres/Database/ReadClient"
) {}

export type Services = Database | PgClient.PgClient | SqlClient.SqlClient | ReadClient

export type { SchemaPolicy } from "./Tables.ts"

export interface Options {
  /** A server; without one the embedded database of `directory` is used. */
  readonly url?: Redacted.Redacted | undefined
  /** Who connects when the URL names nobody. @default the user of the operating system, as with libpq */
  readonly username?: string | undefined
  /** The password when the URL has none. */
  readonly password?: Redacted.Redacted | undefined
  /** The data directory of the embedded database. @default ".sluice" */
  readonly directory?: string | undefined
  /** Connections that are kept when idle. @default 5 */
  readonly poolMin?: number | undefined
  /** Connections at most. @default 20 */
  readonly poolMax?: number | undefined
  /** Connections for point reads at most. @default 4 */
  readonly readPoolMax?: number | undefined
  /**
   * After this a statement is cancelled by the server, and a transaction ended that pauses between two; zero for never.
   * @default "60 seconds"
   */
  readonly statementTimeout?: Duration.Input | undefined
  /**
   * Whether connections go through a transaction pooler such as PgBouncer: nothing is then prepared by name, and no
   * statement timeout is asked for when a connection starts.
   *
   * @default false
   */
  readonly pooler?: boolean | undefined
  /** What each lane that is used does about its tables. @default "migrate" on the embedded database, "check" on a server */
  readonly schema?: Tables.SchemaPolicy | undefined
}

/** After so much silence of the server, while an answer is awaited, the system asks whether it is still there. */
const keepAliveEvery = Duration.seconds(5)

/** How many statements may share a connection of `ReadClient`: more is faster on average and worse at the tail. */
const readConcurrency = 4

interface Target {
  readonly where: string
  readonly isEmbedded: boolean
  readonly config: PgClient.PgPoolConfig
}

/** Undefined for a user id that has no name, as in some containers. */
const systemUser: Effect.Effect<string | undefined> = Effect.orElseSucceed(
  Effect.try(() => userInfo().username),
  () => undefined
)

const parseUrl = Effect.fnUntraced(function*(
  url: Redacted.Redacted,
  options: Options
): Effect.fn.Return<Target, DatabaseError> {
  const invalid = (detail: string) => new DatabaseError({ reason: new InvalidDatabaseUrl({ detail }) })
  const text = Redacted.value(url)
  if (!URL.canParse(text)) return yield* invalid("it is not a URL")
  const { host, password, pathname, protocol, searchParams, username } = new URL(text)
  if (protocol !== "postgres:" && protocol !== "postgresql:") return yield* invalid(`it begins with ${protocol}`)
  const name = searchParams.get("dbname") ?? pathname.slice(1)
  const where = `${searchParams.get("host") ?? (host === "" ? "localhost" : host)}${name === "" ? "" : `/${name}`}`
  const isNamed = username !== "" || searchParams.has("user")
  const hasPassword = password !== "" || searchParams.has("password")
  const user = isNamed ? undefined : options.username ?? (yield* systemUser)
  if (!isNamed && user === undefined) return yield* invalid("it names no user, and neither does PGUSER")
  return {
    where,
    isEmbedded: false,
    config: {
      url,
      // The server takes the user's name for the database when the URL names none.
      ...(user !== undefined && { username: user }),
      ...(!hasPassword && options.password !== undefined && { password: options.password })
    }
  }
})

const embeddedTarget = Effect.fnUntraced(function*(directory: string) {
  const server = yield* EmbeddedPostgres.make({ directory }).pipe(
    Effect.mapError((reason) => new DatabaseError({ reason }))
  )
  return {
    where: server.directory,
    isEmbedded: true,
    config: {
      path: server.socketPath,
      username: EmbeddedPostgres.username,
      database: EmbeddedPostgres.database
    }
  }
})

/**
 * Ties leases to the pool. A `listen` or `reserve` whose scope outlives the client's would make the pool's shutdown wait
 * for ever: here they end when the client's scope closes, at the latest.
 */
const guardLeases = Effect.fnUntraced(function*(client: PgClient.PgClient) {
  const owner = yield* Effect.scope
  const guard = <A>(lease: Effect.Effect<A, SqlError, Scope.Scope>): Effect.Effect<A, SqlError, Scope.Scope> =>
    Effect.flatMap(
      Effect.acquireRelease(Scope.fork(owner), (scope, exit) => Scope.close(scope, exit)),
      (scope) => Scope.provide(lease, scope)
    )
  const { listen, reserve } = client
  return Object.assign(client, {
    listen: (channel: string) => guard(listen(channel)),
    reserve: guard(reserve)
  })
})

const openPool = (config: PgClient.PgPoolConfig, where: string) =>
  Effect.flatMap(PgClient.make(config), guardLeases).pipe(Effect.mapError((error) => fromSqlError(error, where)))

/** Opens the database: connects. The tables of a lane are seen to, as `options.schema` says, when that lane is built on it. */
export const make = Effect.fn("Database.make")(function*(
  options: Options
): Effect.fn.Return<Context.Context<Services>, DatabaseError, Scope.Scope | Reactivity.Reactivity> {
  const target = options.url === undefined
    ? yield* embeddedTarget(options.directory ?? ".sluice")
    : yield* parseUrl(options.url, options)
  const timeoutMillis = Duration.toMillis(Duration.fromInputUnsafe(options.statementTimeout ?? "60 seconds"))
  const settings = options.pooler === true
    ? {}
    : target.isEmbedded
    ? SessionSettings.all(timeoutMillis)
    : yield* SessionSettings.accepted(target.config, timeoutMillis).pipe(
      Effect.mapError((error) => fromSqlError(error, target.where))
    )
  const config: PgClient.PgPoolConfig = {
    ...target.config,
    applicationName: "sluice",
    ...(options.pooler === true && { prepare: false }),
    keepAlive: keepAliveEvery,
    startupParameters: settings
  }
  const poolMax = Math.max(1, options.poolMax ?? 20)
  const client = yield* openPool({
    ...config,
    minConnections: Math.min(options.poolMin ?? 5, poolMax),
    maxConnections: poolMax
  }, target.where)
  const readPoolMax = options.readPoolMax ?? 4
  const reader = yield* openPool({
    ...config,
    applicationName: "sluice-read",
    maxConnections: readPoolMax,
    multiplex: true,
    multiplexConcurrency: readConcurrency
  }, target.where)
  const place = { sql: client, where: target.where, isEmbedded: target.isEmbedded }
  yield* Tables.connect(place)
  const policy = options.schema ?? (target.isEmbedded ? "migrate" : "check")
  return Context.make(Database, {
    where: target.where,
    isEmbedded: target.isEmbedded,
    connectionsMax: poolMax + readPoolMax,
    tables: Tables.make(place, policy)
  }).pipe(
    Context.add(PgClient.PgClient, client),
    Context.add(SqlClient.SqlClient, client),
    Context.add(ReadClient, reader)
  )
})

/** Opens the database with the given options. */
export const layer = (options: Options): Layer.Layer<Services, DatabaseError> =>
  Layer.effectContext(make(options)).pipe(Layer.provide(Reactivity.layer))

const notEmpty = (name: string): Config.Config<Redacted.Redacted | undefined> =>
  Config.option(Config.Redacted(name)).pipe(
    Config.map((found) => Option.getOrUndefined(Option.filter(found, (value) => Redacted.value(value).trim() !== "")))
  )

const mostConnections = 10_000

const pool = Config.all({
  poolMin: Setting.whole("SLUICE_POOL_MIN", { least: 0, most: mostConnections, example: 5 }).pipe(
    Config.option,
    Config.map(Option.getOrUndefined)
  ),
  poolMax: Setting.whole("SLUICE_POOL_MAX", { least: 1, most: mostConnections, example: 20 }).pipe(
    Config.withDefault(20)
  )
}).pipe(Config.mapEffect(({ poolMax, poolMin }) =>
  poolMin === undefined || poolMin <= poolMax
    ? Effect.succeed({ poolMin: poolMin ?? Math.min(5, poolMax), poolMax })
    : Effect.fail(Setting.wrong("SLUICE_POOL_MIN", String(poolMin), `at most SLUICE_POOL_MAX, which is ${poolMax}`))
))

/** The options that the environment sets; `PGUSER` and `PGPASSWORD` as in libpq. An empty variable counts as none. */
export const config: Config.Config<Options> = Config.all({
  url: Config.map(Config.option(Config.Redacted("DATABASE_URL")), Option.getOrUndefined),
  username: notEmpty("PGUSER").pipe(Config.map((user) => user === undefined ? undefined : Redacted.value(user))),
  password: notEmpty("PGPASSWORD"),
  directory: EmbeddedPostgres.dataDirectory,
  pool,
  pooler: Setting.toggle("SLUICE_POOLER").pipe(Config.withDefault(false)),
  statementTimeout: ShortDuration.config("SLUICE_STATEMENT_TIMEOUT").pipe(Config.withDefault(Duration.seconds(60)))
}).pipe(Config.map(({ pool: { poolMax, poolMin }, ...options }) => Object.assign(options, { poolMax, poolMin })))

/** Opens the database that the environment names; `overrides` win over it. A `DATABASE_URL` that is set and empty is an error. */
export const layerConfig = (overrides: Options = {}): Layer.Layer<Services, DatabaseError | Config.ConfigError> =>
  Layer.effectContext(Effect.gen(function*() {
    const options = { ...(yield* config), ...overrides }
    // A secret that went missing must not put the data on the disk of a container.
    if (options.url === undefined && (yield* Setting.isEmpty("DATABASE_URL"))) {
      const detail = "it is set, and empty; unset it for the embedded database"
      return yield* new DatabaseError({ reason: new InvalidDatabaseUrl({ detail }) })
    }
    return yield* make(options)
  })).pipe(Layer.provide(Reactivity.layer))

/** Brings the schema up to date, or only these tracks and those below them; gives back the names of the steps it took: `sluice migrate`. */
export const migrate = (
  only?: ReadonlyArray<Migrations.TrackName>
): Effect.Effect<ReadonlyArray<string>, DatabaseError, Database | SqlClient.SqlClient> =>
  Effect.flatMap(
    Database,
    ({ where }) => Migrations.run(where, only === undefined ? undefined : Migrations.tracksOf(only))
  )
