/** What becomes of the settings of a session when somebody between us and the server, or the server, does not take them. */
import { assert, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { connect as dial, createServer, type Socket } from "node:net"
import * as SessionSettings from "../../../src/layers/postgres/SessionSettings.ts"
import * as SqlFailure from "../../../src/services/postgres/SqlFailure.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

/** An error as Postgres sends it before it closes the connection. */
const errorPacket = (code: string, message: string): Buffer => {
  const fields = Buffer.from(`SFATAL\0VFATAL\0C${code}\0M${message}\0\0`)
  const head = Buffer.alloc(5)
  head.write("E")
  head.writeInt32BE(fields.length + 4, 1)
  return Buffer.concat([head, fields])
}

/** A pooler that refuses connections whose first packet has this text; answers its address. */
const pooler = (target: string, refused: RegExp, code: string) =>
  Effect.gen(function*() {
    const to = new URL(target)
    const sockets = new Set<Socket>()
    const server = createServer((client) => {
      sockets.add(client)
      client.on("error", () => {})
      client.once("data", (first: Buffer) => {
        const text = refused.exec(first.toString("latin1"))?.[0]
        if (text !== undefined) return client.end(errorPacket(code, `unsupported startup parameter: ${text}`))
        const folder = to.searchParams.get("host")
        const upstream = folder === null
          ? dial({ host: to.hostname, port: Number(to.port || 5432) })
          : dial({ path: `${folder}/.s.PGSQL.5432` })
        sockets.add(upstream)
        upstream.on("error", () => {})
        upstream.write(first)
        client.pipe(upstream)
        return upstream.pipe(client)
      })
    })
    const port = yield* Effect.acquireRelease(
      Effect.callback<number>((resume) => {
        server.listen(0, "127.0.0.1", () => {
          const address = server.address()
          resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
        })
      }),
      () =>
        Effect.callback<void>((resume) => {
          for (const socket of sockets) socket.destroy()
          server.close(() => resume(Effect.void))
        })
    )
    return { url: Redacted.make(`postgres://${to.username}@127.0.0.1:${port}${to.pathname}`) }
  })

const bounds = { statement_timeout: "5000", idle_in_transaction_session_timeout: "5000" }
const cases: ReadonlyArray<readonly [string, RegExp, string, SessionSettings.SessionSettings]> = [
  ["a server that takes all", /no such thing/, "42704", SessionSettings.all(5_000)],
  ["a server that is too old for one of them", /client_connection_check_interval/, "42704", bounds],
  ["a server whose system cannot do one of them", /client_connection_check_interval/, "22023", bounds],
  ["a pooler that knows two of them", /tcp_\w+/, "08P01", bounds],
  ["a pooler that knows none", /tcp_\w+|statement_timeout/, "08P01", {}]
]

for (const [who, refused, code, expected] of cases) {
  it.live(`${who} gets what it takes`, () =>
    Effect.gen(function*() {
      const { url } = yield* TestDatabase.TestDatabase
      const config = yield* pooler(url, refused, code)
      assert.deepStrictEqual(yield* SessionSettings.accepted(config, 5_000), expected)
    }).pipe(Effect.scoped, Effect.provide(TestDatabase.layer)))
}

it.live("a server that refuses the user is not asked again and again", () =>
  Effect.gen(function*() {
    const { url } = yield* TestDatabase.TestDatabase
    const config = yield* pooler(url, /user/, "28P01")
    const error = yield* Effect.flip(SessionSettings.accepted(config, 5_000))
    assert.strictEqual(SqlFailure.codeOf(error), "28P01")
  }).pipe(Effect.scoped, Effect.provide(TestDatabase.layer)))

it("no bound is no parameter", () => {
  assert.notProperty(SessionSettings.all(0), "statement_timeout")
  assert.notProperty(SessionSettings.all(0), "idle_in_transaction_session_timeout")
})
