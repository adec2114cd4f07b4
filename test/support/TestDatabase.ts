/**
 * A database for tests: fresh, migrated, and its own.
 *
 *   layer(TestDatabase.layer)("orders", (it) => { ... })            one database for all tests of the block
 *   it.effect("...", () => program.pipe(Effect.provide(TestDatabase.layer)))    one for this test (about 30 ms)
 *
 * It provides what `Database.layerConfig` does (`PgClient`, `SqlClient`, `ReadClient`, `Database`), and `TestDatabase`, whose `url`
 * is for further pools (`TestDatabase.secondPool`) and for child processes (as their DATABASE_URL). Real I/O happens under
 * `it.effect`'s TestClock too; a statement timeout is the server's and needs no clock of ours.
 *
 * All share one server per vitest run, started by the first test that asks and not durable (fsync off). Its server is the one
 * that SLUICE_TEST_DATABASE_URL names, when that is set (the user must be allowed to create databases).
 *
 * A test that kills or restarts its server takes `TestDatabase.ownDirectory`: an empty data directory that is checked, when
 * the scope closes, to have no process left, and removed.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import { Context, Effect, Layer, Redacted, type Scope } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import type { SqlError } from "effect/sql/SqlError"
import { randomBytes } from "node:crypto"
import { chmodSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { inject } from "vitest"
import * as Database from "../../src/layers/postgres/Database.ts"
import type { DatabaseError } from "../../src/layers/postgres/DatabaseError.ts"
import * as EmbeddedPostgres from "../../src/layers/postgres/EmbeddedPostgres.ts"
import { processesOf } from "./Processes.ts"

export class TestDatabase extends Context.Service<TestDatabase, {
  /** The database's address, for DATABASE_URL. */
  readonly url: string
}>()("sluice/test/support/TestDatabase") {}

/** Stays between the test files of a run, which each run in a process of their own. */
const lingerMillis = 5000
const notDurable = { fsync: "off", synchronous_commit: "off", full_page_writes: "off", max_connections: "400" }

/** The server of this run: where to put a database's name gives that database's address. */
const server: Effect.Effect<(name: string) => string, never, Scope.Scope> = Effect.suspend(() => {
  const given = process.env["SLUICE_TEST_DATABASE_URL"]
  if (given !== undefined && given !== "") {
    return Effect.succeed((name: string) => Object.assign(new URL(given), { pathname: `/${name}` }).toString())
  }
  return EmbeddedPostgres.make({ directory: inject("testDatabase").directory, lingerMillis, settings: notDurable })
    .pipe(
      Effect.provideService(EmbeddedPostgres.Progress, () => Effect.void),
      Effect.map(({ socketPath }) => (name: string) =>
        `postgres://sluice@localhost/${name}?host=${dirname(socketPath)}`
      ),
      // A test without its server is a broken test run: nothing to handle.
      Effect.orDie
    )
})

/** Databases are made and dropped from here, through one connection. */
const adminOf = (url: (name: string) => string) =>
  PgClient.makeClient({ url: Redacted.make(url("postgres")), applicationName: "sluice-test-admin" })

/** The migrated database that all others are copies of. It is made under another name, so that it is whole or not there. */
const template = Effect.fnUntraced(function*(admin: PgClient.PgClient, url: (name: string) => string) {
  const name = `sluice_template_${inject("testDatabase").run}`
  const find = admin`select 1 from pg_database where datname = ${name}`
  if ((yield* find).length > 0) return name
  yield* admin`select pg_advisory_lock(hashtext(${name}))`
  if ((yield* find).length === 0) {
    const draft = `${name}_draft`
    yield* admin`drop database if exists ${admin(draft)}`
    yield* admin`create database ${admin(draft)}`
    yield* Database.migrate().pipe(Effect.provide(
      Database.layer({ url: Redacted.make(url(draft)), schema: "ignore", poolMin: 0, poolMax: 1 })
    ))
    yield* admin`alter database ${admin(draft)} rename to ${admin(name)}`
  }
  yield* admin`select pg_advisory_unlock(hashtext(${name}))`
  return name
})

const makeFrom = Effect.fnUntraced(function*(
  sourceOf: (
    admin: PgClient.PgClient,
    url: (name: string) => string
  ) => Effect.Effect<string, SqlError | DatabaseError, Reactivity.Reactivity | Scope.Scope>
) {
  const url = yield* server
  const admin = yield* adminOf(url)
  const source = yield* sourceOf(admin, url)
  const name = `sluice_test_${inject("testDatabase").run}_${randomBytes(6).toString("hex")}`
  yield* Effect.acquireRelease(
    admin`create database ${admin(name)} template ${admin(source)}`,
    () => Effect.ignore(admin`drop database ${admin(name)} with (force)`)
  )
  return { url: url(name) }
}, Effect.provide(Reactivity.layer))

/** The address of a database that has nothing in it, until the scope closes. */
export const empty: Effect.Effect<string, SqlError | DatabaseError, Scope.Scope> = Effect.map(
  makeFrom(() => Effect.succeed("template1")),
  ({ url }) => url
)

/** A fresh, migrated database, not opened. */
export const layerUrl: Layer.Layer<TestDatabase, SqlError | DatabaseError> = Layer.effect(
  TestDatabase,
  makeFrom(template)
)

/** A pool on the test's database, besides the one that `layer` provides: another process would have such a one. */
export const secondPool = (
  options: Database.Options = {}
): Layer.Layer<Database.Services, DatabaseError, TestDatabase> =>
  Layer.unwrap(
    Effect.map(TestDatabase, ({ url }) => Database.layer({ poolMin: 0, ...options, url: Redacted.make(url) }))
  )

/** A fresh, migrated database, open. */
export const layer: Layer.Layer<Database.Services | TestDatabase, SqlError | DatabaseError> = Layer.provideMerge(
  secondPool(),
  layerUrl
)

/** An empty data directory for a server of the test's own. Dies when a process of it is left at the end. */
export const ownDirectory: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => {
    const directory = mkdtempSync(join(tmpdir(), `sluice-own-${process.pid}-`))
    chmodSync(directory, 0o755)
    return directory
  }),
  (directory) =>
    Effect.gen(function*() {
      const left = yield* processesOf(directory)
      for (const { pid } of left) process.kill(pid, "SIGKILL")
      rmSync(directory, { recursive: true, force: true })
      return yield* left.length > 0 ? Effect.die(new Error(`left running: ${JSON.stringify(left)}`)) : Effect.void
    })
)
