/** Rolling restarts of `sluice serve`: whoever sends requests all the while sees none fail, behind a proxy and without one. */
import { assert, layer } from "@effect/vitest"
import { Effect, Fiber, Queue } from "effect"
import { createServer } from "node:net"
import { post, request } from "../../support/ApiClient.ts"
import { eventually } from "../../support/eventually.ts"
import * as KeepAliveClient from "../../support/KeepAliveClient.ts"
import * as Nginx from "../../support/Nginx.ts"
import { listening, type SluiceProcess, start as sluice } from "../../support/SluiceProcess.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const isLong = process.env["SLUICE_LONG"] === "1"
const restarts = isLong ? 10 : 3
const clients = 8
const timeout = isLong ? 300_000 : 120_000

const freePort = Effect.callback<number>((resume) => {
  const probe = createServer().listen(0, "127.0.0.1", () => {
    const address = probe.address()
    probe.close(() => resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0)))
  })
})

const seeded = Effect.gen(function*() {
  const { url } = yield* TestDatabase.TestDatabase
  const env = { DATABASE_URL: url, SLUICE_DRAIN_DELAY: "1s", SLUICE_LOG_LEVEL: "warn" }
  assert.strictEqual(yield* (yield* sluice(["orders", "seed", "--customers", "5"], env)).exit, 0)
  return env
})

const serve = (port: number, env: Record<string, string>, ...flags: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const server = yield* sluice(["serve", "--port", String(port), "--workers", "0", ...flags], env)
    yield* listening(server)
    return server
  })

/** Sends orders and reads for as long as it is not interrupted; tells of what is not as it should be. */
const shopping = (base: string, name: string, failures: Array<string>, sent: { count: number }) =>
  Effect.gen(function*() {
    const client = yield* KeepAliveClient.make(base)
    for (let index = 0;; index++) {
      const reply = index % 2 === 0
        ? yield* client.post(
          "/v1/orders",
          { customerId: "customer-1", items: [{ sku: "sku-4", quantity: 1 }] },
          { "idempotency-key": `${name}-${index}` }
        )
        : yield* client.get("/v1/products")
      sent.count++
      const isFine = reply.status === (index % 2 === 0 ? 202 : 200)
      if (!isFine) failures.push(`${name}-${index}: ${reply.status} ${reply.error ?? ""} ${reply.text.slice(0, 200)}`)
    }
  })

/** Stops a server as an operator does: it leaves by itself, and leaves nobody behind. */
const stopped = (server: SluiceProcess) =>
  Effect.gen(function*() {
    yield* server.kill("SIGTERM")
    assert.strictEqual(yield* server.exit, 143)
    assert.notMatch((yield* Queue.clear(server.lines)).join("\n"), /left behind|not drained/)
  })

const spending = (base: string) =>
  Effect.gen(function*() {
    const failures: Array<string> = []
    const sent = { count: 0 }
    const fibers = yield* Effect.forEach(
      Array.from({ length: clients }, (_, index) => index),
      (index) => Effect.forkScoped(Effect.scoped(shopping(base, `client${index}`, failures, sent)))
    )
    return { failures, sent, end: Fiber.interruptAll(fibers) }
  })

layer(TestDatabase.layer, { excludeTestServices: true })("rolling restarts", (it) => {
  it.effect.skipIf(Nginx.program === undefined)(
    `behind nginx (skipped where it is not installed): ${clients} clients that keep their connections, ${restarts} restarts, no request fails`,
    () =>
      Effect.gen(function*() {
        const env = yield* seeded
        const ports = [yield* freePort, yield* freePort] as const
        const front = yield* freePort
        const servers = [yield* serve(ports[0], env), yield* serve(ports[1], env)]
        const nginx = yield* Nginx.start(Nginx.program ?? "", { port: front, servers: ports })
        const { end, failures, sent } = yield* spending(`http://127.0.0.1:${front}`)
        for (let restart = 0; restart < restarts; restart++) {
          const which = restart % 2
          const before = sent.count
          const [server, port] = [servers[which], ports[which] ?? 0]
          if (server === undefined) continue
          yield* stopped(server)
          servers[which] = yield* serve(port, env)
          yield* eventually(Effect.sync(() => sent.count), (count) => count > before + clients)
        }
        yield* end
        assert.deepStrictEqual(failures, [], nginx.errors())
      }),
    timeout
  )

  it.effect(
    `without a proxy: two processes share a port, ${restarts} restarts, no connection is reset`,
    () =>
      Effect.gen(function*() {
        const env = yield* seeded
        const port = yield* freePort
        const servers: Array<SluiceProcess> = [
          yield* serve(port, env, "--share-port"),
          yield* serve(port, env, "--share-port")
        ]
        const { end, failures, sent } = yield* spending(`http://127.0.0.1:${port}`)
        for (let restart = 0; restart < restarts; restart++) {
          const before = sent.count
          const server = servers.shift()
          if (server === undefined) continue
          yield* stopped(server)
          servers.push(yield* serve(port, env, "--share-port"))
          yield* eventually(Effect.sync(() => sent.count), (count) => count > before + clients)
        }
        yield* end
        assert.deepStrictEqual(failures, [])
      }),
    timeout
  )

  it.effect(
    "goes on serving for its drain delay, with orders and work; a second signal ends that time",
    () =>
      Effect.gen(function*() {
        const env = yield* seeded
        const port = yield* freePort
        const server = yield* sluice(["serve", "--port", String(port), "--drain-delay", "10m"], env)
        const base = yield* listening(server)
        yield* server.kill("SIGTERM")
        const { json } = yield* eventually(request(`${base}/readyz`), ({ status }) => status === 503)
        assert.strictEqual(json.status, "draining")
        const body = { customerId: "customer-1", items: [{ sku: "sku-4", quantity: 1 }] }
        const order = yield* post(`${base}/v1/orders`, body, { "idempotency-key": "late", prefer: "wait=30" })
        assert.deepStrictEqual([order.status, order.json.status], [200, "completed"])
        yield* server.kill("SIGTERM")
        assert.strictEqual(yield* server.exit, 143)
      }),
    timeout
  )
})
