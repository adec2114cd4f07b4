/** A real client follows orders over server-sent events, through connections that break. */
import { assert, layer as withLayer } from "@effect/vitest"
import { Effect, Fiber, Layer, Queue, Stream } from "effect"
import * as Feed from "../../../src/layers/http/Feed.ts"
import * as OrderHandlers from "../../../src/layers/http/OrderHandlers.ts"
import * as PostgresReadiness from "../../../src/layers/http/PostgresReadiness.ts"
import { OrderProcessor } from "../../../src/services/orders/OrderProcessor.ts"
import { Orders } from "../../../src/services/orders/Orders.ts"
import * as Shutdown from "../../../src/services/tasks/Shutdown.ts"
import * as Harness from "../../support/ApiHarness.ts"
import { app } from "../../support/orders.ts"
import * as Shop from "../../support/Shop.ts"

interface Event {
  readonly id: string
  readonly event: string
  readonly data: { readonly status: string; readonly version: number }
}

/** Reads events until `isEnough` or the end of the stream, then hangs up. */
const read = (
  url: string,
  lastEventId: string | undefined,
  isEnough: (events: ReadonlyArray<Event>) => boolean,
  opened: () => void = () => {}
) =>
  Effect.promise(async (signal) => {
    const hangUp = new AbortController()
    signal.addEventListener("abort", () => hangUp.abort())
    const response = await fetch(url, {
      signal: hangUp.signal,
      headers: lastEventId === undefined ? {} : { "last-event-id": lastEventId }
    })
    assert.strictEqual(response.headers.get("content-type"), "text/event-stream")
    opened()
    const events: Array<Event> = []
    let text = ""
    let isEnded = true
    for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
      text += chunk
      const blocks = text.split("\n\n")
      text = blocks.pop() ?? ""
      for (const block of blocks) {
        const fields = new Map(
          block.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)])
        )
        const data = fields.get("data")
        if (data !== undefined) {
          events.push({ id: fields.get("id") ?? "", event: fields.get("event") ?? "", data: JSON.parse(data) })
        }
      }
      if (isEnough(events)) {
        isEnded = false
        break
      }
    }
    hangUp.abort()
    return { events, isEnded }
  })

const layer = Harness.serve().pipe(Layer.provide(PostgresReadiness.layer), Layer.provideMerge(app))

withLayer(layer, { excludeTestServices: true })("order events", (it) => {
  it.effect(
    "a client that loses its stream after every event still sees each event once",
    () =>
      Effect.gen(function*() {
        const base = yield* Harness.baseUrl
        yield* Shop.open(["fred"], 10_000n)
        yield* Shop.stock([Shop.product("f1", { isShipped: true })])
        const orders = yield* Orders
        const processor = yield* OrderProcessor
        const { value } = yield* orders.accept("f1", { customerId: "fred", items: [{ sku: "f1", quantity: 1 }] })
        const url = `${base}/v1/orders/${value.id}/events`
        const came = yield* Queue.unbounded<string>()
        const client = yield* Effect.forkChild(
          Effect.gen(function*() {
            const all: Array<Event> = []
            while (true) {
              const { events, isEnded } = yield* read(url, all.at(-1)?.id, (events) => events.length > 0)
              all.push(...events)
              yield* Queue.offerAll(came, events.map(({ data }) => data.status))
              if (isEnded && events.length === 0) return all
            }
          }),
          { startImmediately: true }
        )
        assert.strictEqual(yield* Queue.take(came), "accepted")
        yield* processor.settle([value.id])
        assert.strictEqual(yield* Queue.take(came), "paid")
        yield* processor.ship([value.id])
        const events = yield* Fiber.join(client)
        assert.deepStrictEqual(
          events.map(({ data, event, id }) => [id, event, data.status, data.version]),
          [["1", "order", "accepted", 1], ["2", "order", "paid", 2], ["3", "order", "completed", 3]]
        )
      }),
    180_000
  )

  it.effect("two hundred followers of one order cost one look at a time", () =>
    Effect.gen(function*() {
      const base = yield* Harness.baseUrl
      yield* Shop.open(["gina"], 10_000n)
      yield* Shop.stock([Shop.product("g1")])
      const orders = yield* Orders
      const processor = yield* OrderProcessor
      const { value } = yield* orders.accept("g1", { customerId: "gina", items: [{ sku: "g1", quantity: 1 }] })
      const opened = yield* Queue.unbounded<void>()
      const followers = yield* Effect.forkChild(
        Effect.forEach(Array.from({ length: 200 }), () =>
          read(`${base}/v1/orders/${value.id}/events`, "1", () =>
            false, () => Queue.offerUnsafe(opened, undefined)), {
          concurrency: "unbounded"
        }),
        { startImmediately: true }
      )
      for (let count = 0; count < 200; count++) {
        yield* Queue.take(opened)
      }
      yield* processor.settle([value.id])
      const all = yield* Fiber.join(followers)
      assert.isTrue(all.every(({ events }) =>
        events.length === 1 && events[0]?.data.status === "completed"
      ))
    }), 180_000)
})

withLayer(app, { excludeTestServices: true })("a server that drains", (it) => {
  it.effect("ends its streams, so that the client goes to another", () =>
    Effect.gen(function*() {
      yield* Shop.open(["hugo"], 10_000n)
      yield* Shop.stock([Shop.product("h1")])
      const orders = yield* Orders
      const { value } = yield* orders.accept("h1", { customerId: "hugo", items: [{ sku: "h1", quantity: 1 }] })
      const shutdown = yield* Shutdown.make
      const came = yield* Queue.unbounded<void>()
      const ended = yield* Effect.forkChild(
        Feed.eventStream(OrderHandlers.feedOf(orders, value.id, 0)).pipe(
          Stream.tap(() => Queue.offer(came, undefined)),
          Stream.runCount,
          Effect.provideService(Shutdown.CurrentShutdown, shutdown)
        ),
        { startImmediately: true }
      )
      for (let count = 0; count < 2; count++) yield* Queue.take(came)
      assert.isUndefined(ended.pollUnsafe())
      yield* shutdown.drain("request", "1 second")
      assert.strictEqual(yield* Fiber.join(ended), 2)
    }))
})
