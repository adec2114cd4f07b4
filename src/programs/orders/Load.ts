/** `sluice orders load`: places orders over HTTP as fast as a given number of clients can, and says how fast that was. */
import { Clock, Effect, Ref, Runtime, Schema } from "effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Uuid from "../../services/postgres/Uuid.ts"
import { ExitCode } from "../../services/tasks/ExitCode.ts"
import { customerId, sku } from "./Seed.ts"

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
  override get [Runtime.errorExitCode](): number {
    return ExitCode.someFailed
  }
}

/** Nobody answers there. */
export class ServerUnreachable extends Schema.TaggedError<ServerUnreachable>()("ServerUnreachable", {
  url: Schema.String
}) {
  override get message(): string {
    return `no server answers at ${this.url}: start one with \`sluice serve\`, or name yours with --url`
  }
  override get [Runtime.errorExitCode](): number {
    return ExitCode.environment
  }
}

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

/** Sends a request and answers the body of its answer, which must have this status. */
const send = Effect.fnUntraced(function*(
  { token, url }: Options,
  request: HttpClientRequest.HttpClientRequest,
  status: number
): Effect.fn.Return<string, ServerUnreachable | LoadRefused, HttpClient.HttpClient> {
  const client = yield* HttpClient.HttpClient
  const response = yield* client.execute(token === undefined ? request : HttpClientRequest.bearerToken(request, token))
    // Reading to the end gives the connection back, whatever the answer is.
    .pipe(
      Effect.flatMap((response) => Effect.map(response.text, (body) => ({ body, status: response.status }))),
      Effect.mapError(() => new ServerUnreachable({ url }))
    )
  return response.status === status
    ? response.body
    : yield* new LoadRefused({ status: response.status, body: response.body.slice(0, 300) })
})

const Queues = Schema.Struct({
  queues: Schema.Array(
    Schema.Struct({ queue: Schema.String, ready: Schema.Finite, running: Schema.Finite, scheduled: Schema.Finite })
  )
})
const decodeQueues = Schema.decodeUnknownEffect(Schema.fromJsonString(Queues))

/** Waits until nothing waits to be paid. */
const awaitSettled = Effect.fnUntraced(function*(options: Options) {
  const open = Effect.gen(function*() {
    const body = yield* send(options, HttpClientRequest.get(`${options.url}/v1/queues`), 200)
    const { queues } = yield* Effect.mapError(
      decodeQueues(body),
      () => new LoadRefused({ status: 200, body: body.slice(0, 300) })
    )
    const settle = queues.find(({ queue }) => queue === "orders.settle")
    return settle === undefined ? 0 : settle.ready + settle.running + settle.scheduled
  })
  while ((yield* open) > 0) yield* Effect.sleep("50 millis")
})

const percentile = (sorted: Float64Array, share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0

/** Places the orders and waits until they are paid. */
export const load = Effect.fn("orders.load")(function*(options: Options) {
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
      HttpClientRequest.bodyJsonUnsafe(body)
    )
    yield* send(options, request, 202)
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
