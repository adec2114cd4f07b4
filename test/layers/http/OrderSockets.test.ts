/** Orders and fetch runs over WebSockets: the documents of the event streams, the guard of every route, problems for refusals. */
import { assert, it, layer as withLayer } from "@effect/vitest"
import { Effect, Fiber, Layer, Queue, Redacted, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as FetchWatch from "../../../src/layers/http/FetchWatch.ts"
import { Frontier, type RunSummary } from "../../../src/services/fetch/Frontier.ts"
import * as LongConnections from "../../../src/services/http/LongConnections.ts"
import { OrderProcessor } from "../../../src/services/orders/OrderProcessor.ts"
import { Orders } from "../../../src/services/orders/Orders.ts"
import { request } from "../../support/ApiClient.ts"
import * as Harness from "../../support/ApiHarness.ts"
import * as RawWebSocket from "../../support/RawWebSocket.ts"
import * as Shop from "../../support/Shop.ts"

const api = (settings: Parameters<typeof Harness.serve>[0] = {}) =>
  Harness.serve(settings).pipe(Layer.provide(Harness.ready), Layer.provideMerge(Harness.memory))

/** An order that is accepted, and waits. */
const accepted = Effect.gen(function*() {
  yield* Shop.open(["alice"], 100_000n)
  yield* Shop.stock([Shop.product("p1", { isShipped: true })])
  const orders = yield* Orders
  const { value } = yield* orders.accept("k1", { customerId: "alice", items: [{ sku: "p1", quantity: 1 }] })
  return { id: value.id, base: yield* Harness.baseUrl }
})

const dataOf = (text: string) => [...text.matchAll(/^data: (.*)$/gm)].map(([, data = ""]) => data)

withLayer(api(), { excludeTestServices: true })("followed over a WebSocket", (it) => {
  it.effect("an order's events are the documents of its event stream, to its end, and from a version on", () =>
    Effect.gen(function*() {
      const { base, id } = yield* accepted
      const url = `${base}/v1/orders/${id}/events`
      const socket = yield* RawWebSocket.open(url)
      yield* RawWebSocket.until(socket, ({ texts }) => texts.length === 1)
      const processor = yield* OrderProcessor
      yield* processor.settle([id])
      yield* RawWebSocket.until(socket, ({ texts }) => texts.length === 2)
      yield* processor.ship([id])
      assert.strictEqual(yield* RawWebSocket.closing(socket), 1000)
      const stream = yield* request(url)
      assert.deepStrictEqual(socket.texts, dataOf(stream.text))
      assert.strictEqual(socket.texts.length, 3)
      const later = yield* RawWebSocket.open(`${url}?after=2`)
      assert.strictEqual(yield* RawWebSocket.closing(later), 1000)
      assert.deepStrictEqual(later.texts, socket.texts.slice(2))
      assert.deepStrictEqual(dataOf((yield* request(`${url}?after=2`)).text), later.texts)
    }))

  it.effect("what cannot be followed is a problem document, and no connection is taken over", () =>
    Effect.gen(function*() {
      const { base, id } = yield* accepted
      const url = `${base}/v1/orders/${id}/events`
      const cases = [
        ["/v1/orders/00000000-0000-7000-8000-000000000000/events", {}, 404, "order-not-found"],
        ["/v1/fetches/nobody/events", {}, 404, "fetch-not-found"],
        [`/v1/orders/${id}/events?after=x`, {}, 400, "invalid-request"],
        [`/v1/orders/${id}/events`, { "sec-websocket-version": "8" }, 426, "upgrade-refused"],
        [`/v1/orders/${id}/events`, { "sec-websocket-key": "short" }, 426, "upgrade-refused"],
        // A page of another site sends its own origin with every handshake, and may not send another.
        [`/v1/orders/${id}/events`, { origin: "https://evil.example" }, 403, "forbidden"],
        [`/v1/orders/${id}/events`, { "sec-fetch-site": "cross-site" }, 403, "forbidden"],
        [`/v1/orders/${id}/events`, { host: "evil.example" }, 403, "forbidden"],
        ["/nowhere", {}, 404, "not-found"]
      ] as const
      for (const [path, headers, status, type] of cases) {
        const refused = yield* RawWebSocket.open(base + path, headers)
        assert.strictEqual(refused.status, status, `${path} ${JSON.stringify(headers)}: ${refused.answer}`)
        assert.include(refused.answer, "application/problem+json")
        assert.include(refused.answer, `"/problems/${type}"`)
      }
      const old = yield* RawWebSocket.open(url, { "sec-websocket-version": "8" })
      assert.match(old.answer, /^sec-websocket-version: 13$/mi)
      const own = yield* RawWebSocket.open(url, { origin: new URL(base).origin })
      assert.strictEqual(own.status, 101)
      // An upgrade to anything else is answered as if it had not been asked for.
      const other = yield* RawWebSocket.open(`${base}/livez`, { upgrade: "h2c" })
      assert.strictEqual(other.status, 200)
    }))

  it.effect("a fetch run's progress is its summary, and ends when nothing is left", () =>
    Effect.gen(function*() {
      const base = yield* Harness.baseUrl
      const frontier = yield* Frontier
      const run = yield* frontier.open("empty-run")
      yield* run.add([])
      const url = `${base}/v1/fetches/empty-run/events`
      const socket = yield* RawWebSocket.open(url)
      assert.strictEqual(yield* RawWebSocket.closing(socket), 1000)
      const [read] = [yield* request(`${base}/v1/fetches/empty-run`)]
      assert.deepStrictEqual(socket.texts.map((text) => JSON.parse(text).counts), [read.json.counts])
      assert.deepStrictEqual(dataOf((yield* request(url)).text).map((text) => JSON.parse(text).counts), [
        read.json.counts
      ])
    }))
})

withLayer(api({ token: Redacted.make("s3cret/+") }), { excludeTestServices: true })("with a token", (it) => {
  it.effect("a WebSocket needs it: as a header or, for browsers, as a subprotocol", () =>
    Effect.gen(function*() {
      const { base, id } = yield* accepted
      const url = `${base}/v1/orders/${id}/events`
      const encoded = Buffer.from("s3cret/+").toString("base64url")
      const wrong = Buffer.from("guess").toString("base64url")
      for (
        const [headers, status] of [
          [{}, 401],
          [{ authorization: "Bearer guess" }, 401],
          [{ "sec-websocket-protocol": `sluice, bearer.${wrong}` }, 401],
          [{ "sec-websocket-protocol": `sluice, bearer.${encoded}`, upgrade: "h2c" }, 401],
          [{ authorization: "Bearer s3cret/+" }, 101],
          [{ "sec-websocket-protocol": `sluice, bearer.${encoded}` }, 101]
        ] as const
      ) {
        const socket = yield* RawWebSocket.open(url, headers)
        assert.strictEqual(socket.status, status, JSON.stringify(headers))
        // The token is not sent back.
        assert.notInclude(socket.answer, encoded)
      }
    }))
})

withLayer(api({ connections: { ...LongConnections.defaults, max: 3, maxPerClient: 2 } }), {
  excludeTestServices: true
})("with few places", (it) => {
  it.effect("a client has its share, streams of events and WebSockets together, and gets it back", () =>
    Effect.gen(function*() {
      const { base, id } = yield* accepted
      const url = `${base}/v1/orders/${id}/events`
      yield* Effect.scoped(Effect.gen(function*() {
        const first = yield* RawWebSocket.open(url)
        const stream = yield* Effect.promise(async () => await fetch(url))
        assert.deepStrictEqual([first.status, stream.status], [101, 200])
        const third = yield* RawWebSocket.open(url)
        assert.strictEqual(third.status, 429)
        assert.match(third.answer, /^retry-after: 10$/mi)
        assert.strictEqual((yield* request(url)).status, 429)
        // A proxy of this machine speaks for its clients, and there are only so many places in all.
        const other = yield* RawWebSocket.open(url, { "x-forwarded-for": "203.0.113.1, 203.0.113.9" })
        assert.strictEqual(other.status, 101)
        const metrics = yield* request(`${base}/metrics`)
        assert.match(metrics.text, /^# HELP sluice_http_long_connections .+$/m)
        assert.match(metrics.text, /^sluice_http_long_connections 3$/m)
        const another = yield* RawWebSocket.open(url, { "x-forwarded-for": "203.0.113.10" })
        assert.include(another.answer, "3 are open in all")
        yield* Effect.promise(async () => await stream.body?.cancel())
      }))
      const again = yield* Effect.repeat(RawWebSocket.open(url), { until: ({ status }) => status === 101 })
      assert.strictEqual(again.status, 101)
    }))
})

const summary = (pending: number, done: number): RunSummary => ({
  name: "r",
  createdAt: "2026-01-01T00:00:00.000Z",
  updatedAt: "2026-01-01T00:00:00.000Z",
  counts: { pending, leased: 0, done, failed: 0, deferred: 0 }
})

it.effect("followers of a run share one look at it, hear only what has moved, and nobody looks after the last", () =>
  Effect.gen(function*() {
    let now = summary(3, 0)
    let looks = 0
    const frontier = Layer.mock(Frontier)({
      find: () =>
        Effect.sync(() => {
          looks += 1
          return now
        })
    })
    yield* Effect.gen(function*() {
      const watch = yield* FetchWatch.make
      const heard = yield* Queue.unbounded<number>()
      const follow = Stream.runForEach(watch("r"), ({ counts }) => Queue.offer(heard, counts.done))
      const followers = yield* Effect.forkChild(
        Effect.all(Array.from({ length: 50 }, () => follow), { concurrency: "unbounded" }),
        { startImmediately: true }
      )
      const each = (done: number) =>
        Effect.map(
          Effect.forEach(Array.from({ length: 50 }), () => Queue.take(heard)),
          (all) => assert.deepStrictEqual(new Set(all), new Set([done]))
        )
      yield* each(0)
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(looks, 5)
      now = summary(1, 2)
      yield* TestClock.adjust("500 millis")
      yield* each(2)
      now = summary(0, 3)
      yield* TestClock.adjust("500 millis")
      yield* each(3)
      yield* Fiber.join(followers)
      yield* TestClock.adjust("1 minute")
      assert.isAtMost(looks, 8)
      assert.strictEqual(yield* Queue.size(heard), 0)
    }).pipe(Effect.scoped, Effect.provide(frontier))
  }))
