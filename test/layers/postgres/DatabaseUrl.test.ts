/** What a wrong `DATABASE_URL` looks like: one clear line, its reason typed, no password in it. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Deferred, Effect, Fiber, Layer, Redacted, Scope } from "effect"
import { readFileSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { userInfo } from "node:os"
import { join } from "node:path"
import * as Database from "../../../src/layers/postgres/Database.ts"
import * as EmbeddedPostgres from "../../../src/layers/postgres/EmbeddedPostgres.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const open = (url: string) =>
  Effect.flip(Database.tables("jobs").pipe(Effect.provide(Database.layer({ url: Redacted.make(url), poolMin: 0 }))))
    .pipe(
      Effect.tap((error) =>
        Effect.sync(() => {
          assert.notInclude(error.message, "s3cret")
          assert.notInclude(error.message, "\n")
        })
      )
    )

/** A port on which something answers every connection with these bytes, or nothing. */
const strangeServer = (bytes: string | undefined) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly port: number; readonly close: () => void }>((resume) => {
      const server = createServer((socket) => {
        socket.on("error", () => {})
        // Unread, it would never see that the client has gone.
        socket.resume()
        if (bytes !== undefined) socket.end(bytes)
      })
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        const port = typeof address === "object" && address !== null ? address.port : 0
        resume(Effect.succeed({ port, close: () => server.close() }))
      })
    }),
    ({ close }) => Effect.sync(close)
  )

describe("DATABASE_URL", () => {
  it.live("is not one", () =>
    Effect.gen(function*() {
      for (const url of ["nonsense s3cret", "mysql://u:s3cret@h/d", "postgres://u:s3cret@host:port/d"]) {
        assert.strictEqual((yield* open(url)).reason._tag, "InvalidDatabaseUrl", url)
      }
    }))

  it.live("nobody is there", () =>
    Effect.gen(function*() {
      const { close, port } = yield* strangeServer(undefined)
      close()
      const error = yield* open(`postgres://u:s3cret@127.0.0.1:${port}/d`)
      assert.strictEqual(error.reason._tag, "Unreachable")
      assert.include(error.message, `127.0.0.1:${port}/d`)
      assert.include(error.message, "ECONNREFUSED")
    }))

  it.live("somebody else is there", () =>
    Effect.gen(function*() {
      const { port } = yield* strangeServer("HTTP/1.1 400 Bad Request\r\n\r\n")
      const error = yield* open(`postgres://u:s3cret@127.0.0.1:${port}/d`)
      assert.strictEqual(error.reason._tag, "NoPostgres")
      assert.include(error.message, `127.0.0.1:${port}/d is no Postgres server: is it the right port?`)
    }))

  it.live("a host that does not exist", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* open("postgres://u:s3cret@no-such-host.invalid/d")).reason._tag, "Unreachable")
    }))

  it.live("wrong user, wrong password, wrong database, no permission", () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      const server = yield* EmbeddedPostgres.make({ directory })
      const host = join(server.socketPath, "..")
      const admin = Database.layer({
        url: Redacted.make(`postgres://sluice@localhost/postgres?host=${host}`),
        poolMin: 0,
        schema: "ignore"
      })
      yield* Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        yield* sql.unsafe("create role guarded login password 's3cret-right'")
        const file = join(directory, "pg", "pg_hba.conf")
        writeFileSync(file, `local all guarded scram-sha-256\n${readFileSync(file, "utf8")}`)
        yield* sql`select pg_reload_conf()`
        yield* sql`create schema sluice`
        yield* sql`create table sluice.migrations_secret (migration_id int)`
      }).pipe(Effect.provide(admin))
      const behind = yield* open(`postgres://sluice@localhost/template1?host=${host}`)
      assert.strictEqual(behind.reason._tag, "SchemaOutdated")
      assert.include(behind.message, "sluice migrate")
      const at = (user: string, name: string) => open(`postgres://${user}@localhost/${name}?host=${host}`)
      assert.strictEqual((yield* at("nobody_here:s3cret", "postgres")).reason._tag, "WrongCredentials")
      const wrong = yield* at("guarded:s3cret-wrong", "postgres")
      assert.strictEqual(wrong.reason._tag, "WrongCredentials")
      assert.include(wrong.message, "guarded")
      assert.strictEqual((yield* at("guarded:s3cret-right", "no_such_database")).reason._tag, "NoSuchDatabase")
      const migrate = Database.layer({
        url: Redacted.make(`postgres://guarded:s3cret-right@localhost/template1?host=${host}`),
        schema: "ignore",
        poolMin: 0
      })
      const error = yield* Effect.flip(Database.migrate().pipe(Effect.provide(migrate)))
      assert.strictEqual(error.reason._tag, "NotPermitted", error.message)
    }))

  it.live("without a user: PGUSER, else the system's; PGPASSWORD; the database is the user's", () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      const server = yield* EmbeddedPostgres.make({ directory })
      const host = join(server.socketPath, "..")
      const own = userInfo().username
      yield* Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        yield* sql.unsafe("create role guarded login password 's3cret-right'")
        yield* sql.unsafe("create database guarded")
        yield* sql.unsafe(`create role "${own}" login`)
        const file = join(directory, "pg", "pg_hba.conf")
        writeFileSync(file, `local all guarded scram-sha-256\n${readFileSync(file, "utf8")}`)
        yield* sql`select pg_reload_conf()`
      }).pipe(Effect.provide(Database.layer({
        url: Redacted.make(`postgres://sluice@localhost/postgres?host=${host}`),
        poolMin: 0,
        schema: "ignore"
      })))
      const who = (url: string, env: Record<string, string>) =>
        Effect.gen(function*() {
          const sql = yield* PgClient.PgClient
          const rows = yield* sql<{ readonly who: string }>`select current_user || '/' || current_database() as who`
          return rows[0]?.who
        }).pipe(
          Effect.provide(Layer.provide(
            Database.layerConfig({ poolMin: 0, schema: "ignore" }),
            ConfigProvider.layer(ConfigProvider.fromUnknown({ DATABASE_URL: url, ...env }))
          ))
        )
      const bare = `postgres:///postgres?host=${host}`
      assert.strictEqual(yield* who(bare, {}), `${own}/postgres`)
      assert.strictEqual(yield* who(bare, { PGUSER: "sluice" }), "sluice/postgres")
      assert.strictEqual(yield* who(bare, { PGUSER: "" }), `${own}/postgres`)
      // What the URL says wins.
      assert.strictEqual(yield* who(`${bare}&user=sluice`, { PGUSER: "nobody_here" }), "sluice/postgres")
      const guarded = { PGUSER: "guarded", PGPASSWORD: "s3cret-right" }
      assert.strictEqual(yield* who(`postgres:///?host=${host}`, guarded), "guarded/guarded")
      assert.strictEqual(
        yield* who(`postgres://guarded@localhost/postgres?host=${host}`, { PGPASSWORD: "s3cret-right" }),
        "guarded/postgres"
      )
      const wrong = yield* Effect.flip(
        who(`postgres://guarded:s3cret-wrong@localhost/postgres?host=${host}`, guarded)
      )
      assert.strictEqual(wrong._tag === "DatabaseError" ? wrong.reason._tag : wrong._tag, "WrongCredentials")
    }))

  it.live("empty is an error: a secret that went missing is no wish for the embedded database", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Layer.build(Layer.provide(
        Database.layerConfig(),
        ConfigProvider.layer(ConfigProvider.fromUnknown({ DATABASE_URL: "" }))
      )))
      assert.match(error.message, /^DATABASE_URL should look like .*: it is set, and empty; unset it for the embedded/)
    }).pipe(Effect.scoped))

  it.live("options of the environment: what is right is read, what is not is named with what would be", () =>
    Effect.gen(function*() {
      const read = (env: Record<string, string>) => Database.config.parse(ConfigProvider.fromUnknown(env))
      const { directory, poolMax, poolMin, url } = yield* read({ SLUICE_DATA_DIR: "/data", SLUICE_POOL_MAX: "3" })
      assert.deepStrictEqual({ directory, poolMax, poolMin, url }, {
        directory: "/data",
        poolMax: 3,
        poolMin: 3,
        url: undefined
      })
      const wrong: ReadonlyArray<readonly [env: Record<string, string>, message: RegExp]> = [
        [
          { SLUICE_POOL_MAX: "many" },
          /SLUICE_POOL_MAX is "many": expected a whole number from 1 to 10,000, such as 20/
        ],
        [{ SLUICE_POOL_MAX: "0" }, /SLUICE_POOL_MAX is "0": expected a whole number from 1/],
        [{ SLUICE_POOL_MIN: "-1" }, /SLUICE_POOL_MIN is "-1": expected a whole number from 0/],
        [
          { SLUICE_POOL_MIN: "30", SLUICE_POOL_MAX: "2" },
          /SLUICE_POOL_MIN is "30": expected at most SLUICE_POOL_MAX, which is 2/
        ],
        [{ SLUICE_POOL_MIN: "21" }, /SLUICE_POOL_MIN is "21": expected at most SLUICE_POOL_MAX, which is 20/],
        [{ SLUICE_STATEMENT_TIMEOUT: "60" }, /SLUICE_STATEMENT_TIMEOUT is "60": expected a duration like 250ms, 10s/],
        [{ SLUICE_POOLER: "maybe" }, /SLUICE_POOLER is "maybe": expected true or false/],
        [{ SLUICE_DATA_DIR: " " }, /SLUICE_DATA_DIR is set, and empty: expected the path of a directory/]
      ]
      for (const [env, message] of wrong) assert.match((yield* Effect.flip(read(env))).message, message)
    }))
})

describe("leases", () => {
  it.live("a listener and a reserved connection that outlive the pool do not hold up its end", () =>
    Effect.gen(function*() {
      const outer = yield* Scope.make()
      const listening = yield* Deferred.make<void>()
      const fiber = yield* Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        yield* Scope.provide(sql.listen("news"), outer)
        yield* Scope.provide(sql.reserve, outer)
        yield* Deferred.succeed(listening, undefined)
      }).pipe(Effect.provide(TestDatabase.layer), Effect.forkChild)
      yield* Deferred.await(listening)
      yield* Fiber.join(fiber)
    }))
})
