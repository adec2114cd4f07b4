/** A worker whose database is away for a while: two lines in its log, each one object, whatever it tried meanwhile. */
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Queue, type Scope } from "effect"
import { connect, createServer, type Socket } from "node:net"
import { awaitLine, start as sluice } from "../../support/SluiceProcess.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

interface Door {
  readonly url: string
  /** Cuts every connection, and each that is made from then on; ends when so many were. */
  readonly shut: (attempts: number) => Effect.Effect<void>
  readonly open: Effect.Effect<void>
}

/** A door before the server of a URL. */
const doorBefore = (target: string): Effect.Effect<Door, never, Scope.Scope> =>
  Effect.gen(function*() {
    const to = new URL(target)
    const folder = to.searchParams.get("host")
    const sockets = new Set<Socket>()
    let refused = 0
    let limit = Infinity
    let enough = yield* Deferred.make<void>()
    const server = createServer((client) => {
      if (limit < Infinity) {
        client.destroy()
        if (++refused === limit) Deferred.doneUnsafe(enough, Effect.void)
        return
      }
      const upstream = folder === null
        ? connect(Number(to.port || 5432), to.hostname)
        : connect(`${folder}/.s.PGSQL.5432`)
      for (const socket of [client, upstream]) {
        sockets.add(socket)
        socket.on("error", () => {}).on("close", () => sockets.delete(socket))
      }
      client.pipe(upstream).pipe(client)
    })
    const port = yield* Effect.acquireRelease(
      Effect.callback<number>((resume) => {
        server.listen(0, "127.0.0.1", () => {
          const address = server.address()
          resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
        })
      }),
      () =>
        Effect.sync(() => {
          server.close()
          for (const socket of sockets) socket.destroy()
        })
    )
    return {
      url: `postgres://${to.username}:s3cret@127.0.0.1:${port}${to.pathname}`,
      shut: (attempts) =>
        Effect.suspend(() => {
          enough = Deferred.makeUnsafe()
          refused = 0
          limit = attempts
          for (const socket of sockets) socket.destroy()
          return Deferred.await(enough)
        }),
      open: Effect.sync(() => void (limit = Infinity))
    }
  })

it.live("it tells of an outage once, and once of its end", () =>
  Effect.gen(function*() {
    const { url } = yield* TestDatabase.TestDatabase
    const door = yield* doorBefore(url)
    const env = { DATABASE_URL: door.url, SLUICE_LOG_FORMAT: "json", SLUICE_LOOP_THRESHOLD: "0" }
    const worker = yield* sluice(["work"], env)
    const first = JSON.parse(yield* awaitLine(worker, /.*working: .*/))
    assert.deepStrictEqual([first.crews, first.connections], ["demo orders fetches", 24])
    assert.include(first.database, "127.0.0.1")
    assert.notInclude(JSON.stringify(first), "s3cret")
    yield* door.shut(12)
    yield* door.open
    const lines: Array<string> = []
    while (!(lines.at(-1) ?? "").includes("is back after")) lines.push(yield* Queue.take(worker.lines))
    yield* worker.kill("SIGTERM")
    assert.strictEqual(yield* worker.exit, 143)
    const said = [...lines, ...(yield* Queue.clear(worker.lines))].map((line) => JSON.parse(line))
    const about = said.filter(({ message }) => /database|store|listener|counters|session/.test(message))
    assert.deepStrictEqual(about.map(({ level }) => level), ["warn", "info"], lines.join("\n"))
    assert.match(about[0].message, /^the database is away \(\w+/)
    assert.match(about[1].message, /^the database is back after \d+\.\d s$/)
    for (const { date } of said) assert.match(date, /^20\d\d-\d\d-\d\dT/)
  }).pipe(Effect.provide(TestDatabase.layer)), 120_000)
