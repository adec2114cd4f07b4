/** `sluice orders load`: places orders over HTTP as fast as a given number of clients can, and says how fast that was. */
import { Clock, Effect, Ref, Schema } from "effect"
import * as HttpClient from "effect/http/HttpClient"
import type * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type { HttpClientResponse } from "effect/http/HttpClientResponse"
import * as Uuid from "../../services/postgres/Uuid.ts"
import { customerId, sku } from "./seed.ts"

/** What to place. */
export interface Options {
  readonly url: string
  readonly token: string | undefined
  readonly orders: number
  readonly clients: number
  readonly customers: number
  readonly products: number
}

/** The server answered something else than an order. */
export class LoadRefused extends Schema.TaggedError<LoadRefused>()("LoadRefused", {
  status: Schema.Int,
  body: Schema.String
}) {
  override get message(): string {
    return `the server answered ${this.status}: ${this.body} (has \`sluice orders seed\` been run?)`
  }
}

/** Nobody answers there. */
export class ServerUnreachable extends Schema.TaggedError<ServerUnreachable>()("ServerUnreachable", {
  url: Schema.String
}) {
  override get message(): string {
    return `no server answers at ${this.url}: start one with \`sluice serve\`, or name yours with --url`
  }
}

const unreachable = (url: string) => (error: HttpClientError.HttpClientError) =>
  error.reason._tag === "TransportError" ? new ServerUnreachable({ url }) : error

/** What came of it. */
export interface Report {
  readonly orders: number
  readonly seconds: number
  readonly perSecond: number
  readonly p50Millis: number
  readonly p99Millis: number
  readonly maxMillis: number
  /** Seconds from the first order until no order was waiting to be paid. */
  readonly settledSeconds: number
}

const authorized = (token: string | undefined) => (request: HttpClientRequest.HttpClientRequest) =>
  token === undefined ? request : HttpClientRequest.bearerToken(request, token)

const expectStatus = (status: number) =>
  Effect.fnUntraced(function*(response: HttpClientResponse) {
    // Reading to the end gives the connection back, whatever the answer is.
    const body = yield* response.text
    return response.status === status
      ? body
      : yield* new LoadRefused({ status: response.status, body: body.slice(0, 300) })
  })

const Queues = Schema.Struct({
  queues: Schema.Array(
    Schema.Struct({ queue: Schema.String, ready: Schema.Finite, running: Schema.Finite, scheduled: Schema.Finite })
  )
})
const decodeQueues = Schema.decodeUnknownEffect(Schema.fromJsonString(Queues))

/** Waits until nothing waits to be paid. */
const awaitSettled = Effect.fnUntraced(function*(options: Options) {
  const client = yield* HttpClient.HttpClient
  const open = client.execute(authorized(options.token)(HttpClientRequest.get(`${options.url}/v1/queues`))).pipe(
    Effect.flatMap(expectStatus(200)),
    Effect.flatMap((body) => decodeQueues(body)),
    Effect.map(({ queues }) => {
      const settle = queues.find(({ queue }) => queue === "orders.settle")
      return settle === undefined ? 0 : settle.ready + settle.running + settle.scheduled
    })
  )
  let left = yield* open
  while (left > 0) {
    yield* Effect.sleep("50 millis")
    left = yield* open
  }
})

const percentile = (sorted: Float64Array, share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0

/** Places the orders and waits until they are paid. */
export const load = Effect.fn("orders.load")(function*(options: Options) {
  const client = yield* HttpClient.HttpClient
  const run = yield* Uuid.next
  const next = yield* Ref.make(0)
  const latencies = new Float64Array(options.orders)
  const placeOne = Effect.fnUntraced(function*(index: number) {
    const startedAt = yield* Clock.currentTimeNanos
    const body = {
      customerId: customerId(1 + index % options.customers),
      items: [{ sku: sku(1 + index % options.products), quantity: 1 }]
    }
    const request = HttpClientRequest.post(`${options.url}/v1/orders`).pipe(
      HttpClientRequest.setHeader("idempotency-key", `${run}-${index}`),
      HttpClientRequest.bodyJsonUnsafe(body),
      authorized(options.token)
    )
    const response = yield* Effect.mapError(client.execute(request), unreachable(options.url))
    yield* expectStatus(202)(response)
    latencies[index] = Number((yield* Clock.currentTimeNanos) - startedAt) / 1e6
  })
  const clientLoop = Effect.gen(function*() {
    let index = yield* Ref.getAndUpdate(next, (value) => value + 1)
    while (index < options.orders) {
      yield* placeOne(index)
      index = yield* Ref.getAndUpdate(next, (value) => value + 1)
    }
  })
  const startedAt = yield* Clock.currentTimeMillis
  yield* Effect.forEach(Array.from({ length: options.clients }), () => clientLoop, {
    concurrency: "unbounded",
    discard: true
  })
  const placedAt = yield* Clock.currentTimeMillis
  yield* awaitSettled(options)
  const settledAt = yield* Clock.currentTimeMillis
  const sorted = latencies.toSorted()
  const seconds = Math.max(0.001, (placedAt - startedAt) / 1000)
  const report: Report = {
    orders: options.orders,
    seconds,
    perSecond: options.orders / seconds,
    p50Millis: percentile(sorted, 0.5),
    p99Millis: percentile(sorted, 0.99),
    maxMillis: percentile(sorted, 1),
    settledSeconds: (settledAt - startedAt) / 1000
  }
  return report
})
