/** `sluice serve` as people run it: a process, its port, its token, and how it leaves. */
import { assert, it } from "@effect/vitest"
import { Effect, Queue, Result, Schema } from "effect"
import { execFile } from "node:child_process"
import { readFile } from "node:fs/promises"
import { createServer } from "node:net"
import { promisify } from "node:util"
import { CannotListen, PublicUrl } from "../../../src/programs/serve/Server.ts"
import { post, request } from "../../support/ApiClient.ts"
import * as RawWebSocket from "../../support/RawWebSocket.ts"
import { listening, start as sluice } from "../../support/SluiceProcess.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

it.live(
  "serves, works, drains on SIGTERM and leaves with 143; nothing that was accepted is lost",
  () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      const env = { SLUICE_DATA_DIR: directory }
      const seeding = yield* sluice(["orders", "seed", "--customers", "3", "--products", "4"], env)
      assert.strictEqual(yield* seeding.exit, 0)
      const server = yield* sluice(["serve", "--port", "0", "--workers", "5"], env)
      const base = yield* listening(server)
      assert.match(base, /^http:\/\/127\.0\.0\.1:\d+$/)
      assert.strictEqual((yield* request(`${base}/readyz`)).status, 200)
      const body = { customerId: "customer-1", items: [{ sku: "sku-4", quantity: 1 }] }
      const done = yield* post(`${base}/v1/orders`, body, { "idempotency-key": "serve-1", prefer: "wait=10" })
      assert.deepStrictEqual([done.status, done.json.status], [200, "completed"])
      // In flight when the signal comes: each is answered, or its connection ends without an answer and the key tells later.
      const answered = yield* Queue.unbounded<void>()
      const inFlight = yield* Effect.forkChild(Effect.forEach(
        Array.from({ length: 40 }, (_, index) => index),
        (index) =>
          Effect.ensuring(
            Effect.exit(post(`${base}/v1/orders`, body, { "idempotency-key": `flight-${index}` })),
            Queue.offer(answered, undefined)
          ),
        { concurrency: 10 }
      ))
      for (let count = 0; count < 5; count++) yield* Queue.take(answered)
      yield* server.kill("SIGTERM")
      assert.strictEqual(yield* server.exit, 143)
      inFlight.interruptUnsafe(undefined)
      const again = yield* sluice(["serve", "--port", "0"], env)
      const next = yield* listening(again)
      const first = yield* post(`${next}/v1/orders`, body, { "idempotency-key": "serve-1" })
      assert.deepStrictEqual([first.status, first.json.id, first.headers.get("idempotent-replayed")], [
        202,
        done.json.id,
        "true"
      ])
      for (let index = 0; index < 40; index++) {
        const answer = yield* post(`${next}/v1/orders`, body, {
          "idempotency-key": `flight-${index}`,
          prefer: "wait=10"
        })
        assert.deepStrictEqual([answer.status, answer.json.status], [200, "completed"])
      }
      yield* again.kill("SIGINT")
      assert.strictEqual(yield* again.exit, 130)
      const audit = yield* sluice(["orders", "audit"], env)
      assert.strictEqual(yield* audit.exit, 0)
      assert.match(yield* Queue.take(audit.lines), /entries sum to 0, balances to 0, 0 unbalanced/)
    }),
  180_000
)

/** The walk-through of docs/orders.md, against the server at `base`; prints what each line answers. */
const walkThrough = (base: string) =>
  Effect.promise(async () => {
    const page = await readFile(new URL("../../../docs/orders.md", import.meta.url), "utf8")
    const script = /^## A shop by hand$.*?^```sh\n(.*?)^```$/ms.exec(page)?.[1] ?? "exit 1"
    const code = `set -eu\n${script.replace("http://127.0.0.1:3000", base)}`
    const { stdout } = await promisify(execFile)("bash", ["-c", code])
    return stdout
  })

it.live(
  "the walk-through of the docs opens a shop over HTTP, and may be sent again",
  () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      const server = yield* sluice(["serve", "--port", "0"], { SLUICE_DATA_DIR: directory })
      const base = yield* listening(server)
      for (let round = 0; round < 2; round++) {
        const output = yield* walkThrough(base)
        assert.match(output, /"status":"accepted".*\n.*"status":"paid".*\n.*"status":"completed"/s)
        assert.match(output, /"id":"alice","currency":"EUR","balance":"2500"/)
        assert.match(output, /"id":"bookshop","currency":"EUR","balance":"3750"/)
        assert.match(output, /"id":"card-clearing.EUR","currency":"EUR","balance":"-1250"/)
        assert.match(output, /"sku":"atlas",.*"onHand":0,"reserved":0,"sold":3/)
      }
      const audit = yield* sluice(["orders", "audit"], { SLUICE_DATA_DIR: directory })
      assert.strictEqual(yield* audit.exit, 0)
    }),
  180_000
)

const unescape = (html: string): string =>
  html.replaceAll("&quot;", "\"").replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&")

it.live(
  "each line of /docs can be pasted into a shell beside a server with the seed's shop, and pasted again",
  () =>
    Effect.gen(function*() {
      const env = { SLUICE_DATA_DIR: yield* TestDatabase.ownDirectory, SLUICE_API_TOKEN: "s3cret" }
      assert.strictEqual(yield* (yield* sluice(["orders", "seed"], env)).exit, 0)
      const server = yield* sluice(["serve", "--host", "127.0.0.1", "--port", "0", "--workers", "0"], env)
      const base = yield* listening(server)
      const { text } = yield* request(`${base}/docs`)
      const lines = [...text.matchAll(/<pre class="curl">([^<]+)<\/pre>/g)].map(([, line]) => unescape(line ?? ""))
      assert.strictEqual(lines.length, 6)
      for (const line of [...lines, ...lines]) {
        assert.include(line, base)
        const pasted = execFile("bash", ["-c", `${line} -o /dev/null -w '%{http_code}'`], {
          env: { ...process.env, ...env }
        })
        const status = yield* Effect.promise(async () => {
          let answer = ""
          for await (const chunk of pasted.stdout ?? []) answer += String(chunk)
          return answer
        })
        assert.match(status, /^20[012]$/, line)
      }
    }),
  180_000
)

/** A port that nobody has for the moment; it is asked of the kernel, as two servers need the same one. */
const freePort = Effect.promise(() => {
  const { promise, resolve } = Promise.withResolvers<number>()
  const probe = createServer().listen(0, "127.0.0.1", () => {
    const address = probe.address()
    probe.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0))
  })
  return promise
})

/** What so many requests are answered with, each on a connection of its own. */
const statuses = (base: string, token: string, times: number) =>
  Effect.map(
    Effect.forEach(Array.from({ length: times }), () =>
      request(`${base}/v1/products`, { headers: { authorization: `Bearer ${token}`, connection: "close" } })),
    (answers) =>
      new Set(answers.map(({ status }) => status))
  )

it.live(
  "share-port: two processes on one port and one database, and one goes on when the other is stopped",
  () =>
    Effect.gen(function*() {
      const env = { SLUICE_DATA_DIR: yield* TestDatabase.ownDirectory }
      assert.strictEqual(yield* (yield* sluice(["orders", "seed", "--customers", "2"], env)).exit, 0)
      const port = String(yield* freePort)
      const args = ["serve", "--host", "127.0.0.1", "--port", port]
      // Each has a token of its own, so that an answer tells whose it is.
      const one = yield* sluice([...args, "--share-port"], { ...env, SLUICE_API_TOKEN: "one" })
      const base = yield* listening(one)
      assert.deepStrictEqual(yield* statuses(base, "one", 8), new Set([200]))
      const other = yield* sluice([...args, "--share-port"], { ...env, SLUICE_API_TOKEN: "other" })
      assert.strictEqual(yield* listening(other), base)
      assert.deepStrictEqual(yield* statuses(base, "other", 64), new Set([401, 200]))
      // Who does not share gets nothing, and says what would help.
      const selfish = yield* sluice(args, env)
      assert.strictEqual(yield* selfish.exit, 3)
      const said = yield* Queue.takeAll(selfish.lines)
      const line = said.find((text) => text.includes(`cannot listen on 127.0.0.1:${port}`))
      assert.include(line, "--share-port", said.join("\n"))
      yield* one.kill("SIGTERM")
      assert.strictEqual(yield* one.exit, 143)
      assert.deepStrictEqual(yield* statuses(base, "other", 8), new Set([200]))
      const body = { customerId: "customer-1", items: [{ sku: "sku-4", quantity: 1 }] }
      const headers = { authorization: "Bearer other", "idempotency-key": "shared-1", prefer: "wait=10" }
      const done = yield* post(`${base}/v1/orders`, body, headers)
      assert.deepStrictEqual([done.status, done.json.status], [200, "completed"])
    }),
  180_000
)

it("a public URL is an address without query, user or slash at its end", () => {
  const decode = Schema.decodeUnknownResult(PublicUrl)
  const read = (text: string) => Result.getOrUndefined(decode(text))
  assert.strictEqual(read("https://example.com/"), "https://example.com")
  assert.strictEqual(read("http://localhost:3000/shop/"), "http://localhost:3000/shop")
  for (
    const text of ["example.com", "/shop", "ftp://example.com", "https://a:b@example.com", "https://example.com/?q", ""]
  ) {
    assert.isUndefined(read(text), text)
  }
  assert.include(String(Result.getFailure(decode("shop"))), "https://example.com/shop")
})

it("what a listen error means is said by its code", () => {
  const cause = Object.assign(new Error("listen ENOTSUP: operation not supported"), { code: "ENOTSUP" })
  const at = { host: "::1", port: 3000, cause }
  assert.match(
    new CannotListen({ ...at, code: "ENOTSUP" }).message,
    /^cannot listen on \[::1\]:3000: .*leave out --share-port/
  )
  assert.match(new CannotListen({ ...at, code: "EACCES" }).message, /below 1024/)
  assert.include(new CannotListen({ ...at, code: "EIO" }).message, "operation not supported (EIO)")
})

it.live(
  "who follows an order over a WebSocket is told when the server stops; the public address is what it was told",
  () =>
    Effect.gen(function*() {
      const env = { SLUICE_DATA_DIR: yield* TestDatabase.ownDirectory, SLUICE_PUBLIC_URL: "https://other.example" }
      assert.strictEqual(yield* (yield* sluice(["orders", "seed", "--customers", "1"], env)).exit, 0)
      const address = "https://example.com/shop"
      const server = yield* sluice(["serve", "--port", "0", "--workers", "0", "--public-url", address], env)
      const base = yield* listening(server)
      const body = { customerId: "customer-1", items: [{ sku: "sku-4", quantity: 1 }] }
      const placed = yield* post(`${base}/shop/v1/orders`, body, { "idempotency-key": "followed" })
      assert.strictEqual(placed.headers.get("location"), `/shop/v1/orders/${placed.json.id}`)
      assert.deepStrictEqual((yield* request(`${base}/openapi.json`)).json.servers, [{ url: address }])
      const follower = yield* RawWebSocket.open(`${base}/v1/orders/${placed.json.id}/events`)
      yield* RawWebSocket.until(follower, ({ texts }) => texts.length === 1)
      yield* server.kill("SIGTERM")
      assert.strictEqual(yield* RawWebSocket.closing(follower), 1001)
      assert.strictEqual(yield* server.exit, 143)
    }).pipe(Effect.scoped),
  180_000
)

it.live(
  "without a token it does not listen on more than loopback, and says what is missing",
  () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      const server = yield* sluice(["serve", "--port", "0", "--host", "0.0.0.0"], { SLUICE_DATA_DIR: directory })
      assert.strictEqual(yield* server.exit, 2)
      const lines = yield* Queue.takeAll(server.lines)
      assert.isTrue(lines.some((line) => line.includes("SLUICE_API_TOKEN")), lines.join("\n"))
    }),
  180_000
)
