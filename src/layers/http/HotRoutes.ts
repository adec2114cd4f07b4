/**
 * The three routes that carry the traffic, by hand: the same answers as their descriptions in the API, without what a router and a builder
 * do for every kind of route. Measured to pay: see docs/benchmarks.md.
 */
import { ByteSize, Duration, Effect, Schema, Stream } from "effect"
import * as HttpApiError from "effect/http-api/HttpApiError"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import type { HttpServerError } from "effect/http/HttpServerError"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as UrlParams from "effect/http/UrlParams"
import { listQuery } from "../../services/http/OrdersGroup.ts"
import * as Problem from "../../services/http/Problem.ts"
import { isUuid } from "../../services/orders/Ids.ts"
import type { Receipt } from "../../services/orders/Ledger.ts"
import * as Order from "../../services/orders/Order.ts"
import type { Orders } from "../../services/orders/Orders.ts"
import * as Addresses from "./Addresses.ts"
import * as Bodies from "./Bodies.ts"
import * as Page from "./Page.ts"
import { answer, invalid, problemOf } from "./ProblemOf.ts"
import { keyOf, waitSeconds } from "./RequestHeaders.ts"

type Response = HttpServerResponse.HttpServerResponse

/** A route and what it answers: whole answers, errors included. */
export interface HotRoute {
  readonly name: string
  /** Whether everything that it waits for looks at the deadline by itself; otherwise the gate holds it to that with a timer. */
  readonly isDeadlineAware: boolean
  readonly answer: (request: HttpServerRequest, requestId: string) => Effect.Effect<Response>
}

const decodeBody = Schema.decodeEffect(Schema.fromJsonString(Order.OrderRequest))

const json = /^\s*application\/json\s*(?:;|$)/i

const readBody = (
  request: HttpServerRequest,
  maxBody: ByteSize.ByteSize
): Effect.Effect<
  Order.OrderRequest,
  Problem.UnsupportedMediaType | HttpServerError | HttpApiError.HttpApiSchemaError
> => {
  if (!json.test(request.headers["content-type"] ?? "application/json")) {
    return Effect.fail(new Problem.UnsupportedMediaType())
  }
  return Effect.flatMap(
    Effect.provideService(request.text, HttpIncomingMessage.MaxBodySize, maxBody),
    (text) =>
      Effect.mapError(decodeBody(text), (cause) => new HttpApiError.HttpApiSchemaError({ kind: "Payload", cause }))
  )
}

/** The order as it was accepted or, after a wait, as it is now. */
const placed = (
  order: Order.Order,
  isReplayed: boolean,
  options: { readonly status: number; readonly headers?: Record<string, string> }
): Response =>
  Bodies.json(Bodies.orderJson(order), {
    status: options.status,
    headers: {
      location: `/v1/orders/${order.id}`,
      etag: Bodies.etag(order.version),
      ...options.headers,
      ...(isReplayed ? { "idempotent-replayed": "true" } : {})
    }
  })

/** The order at its end, or where it is when the time is over. */
const awaitEnd = (orders: Orders["Service"], { isReplayed, value }: Receipt<Order.Order>, seconds: number) =>
  Stream.runDrain(orders.events(value.id, value.version)).pipe(
    Effect.timeoutOption(Duration.seconds(seconds)),
    Effect.andThen(orders.find(value.id)),
    // It was accepted, and orders are never removed.
    Effect.catchTag("OrderNotFound", Effect.die),
    Effect.map((order) =>
      placed(order, isReplayed, {
        status: Order.isTerminal(order.status) ? 200 : 202,
        headers: { "preference-applied": `wait=${seconds}` }
      })
    )
  )

/** `POST /v1/orders`. */
const place = (orders: Orders["Service"], maxBodyBytes: number): HotRoute["answer"] => {
  const maxBody = ByteSize.fromInputUnsafe(maxBodyBytes)
  return (request, requestId) => {
    const seconds = waitSeconds(request.headers["prefer"])
    return keyOf(request.headers["idempotency-key"]).pipe(
      Effect.flatMap((key) =>
        Effect.flatMap(readBody(request, maxBody), (body) => orders.accept(key, body, requestId))
      ),
      Effect.flatMap((receipt) =>
        seconds === 0
          ? Effect.succeed(placed(receipt.value, receipt.isReplayed, { status: 202 }))
          : awaitEnd(orders, receipt, seconds)
      ),
      Effect.catch((error) => answer(problemOf(error)))
    )
  }
}

const invalidId = invalid(["params", "id"], "Expected a UUID in lower case")

/** `GET /v1/orders/:id`. */
const read = (orders: Orders["Service"]): HotRoute["answer"] => (request) => {
  const id = Addresses.pathOf(request.url).slice("/v1/orders/".length)
  if (!isUuid(id)) return answer(invalidId)
  return Effect.matchEffect(orders.find(id), {
    onFailure: (error) => answer(problemOf(error)),
    onSuccess: (order) => {
      const etag = Bodies.etag(order.version)
      const known = request.headers["if-none-match"]
      return Effect.succeed(
        known !== undefined && Bodies.hasVersion(known, order.version)
          ? HttpServerResponse.empty({ status: 304, headers: { etag } })
          : Bodies.json(Bodies.orderJson(order), { headers: { etag } })
      )
    }
  })
}

const decodeQuery = Schema.decodeUnknownEffect(Schema.Struct(listQuery))

const queryOf = (url: string): Record<string, unknown> => {
  const from = url.indexOf("?")
  const query = from === -1 ? "" : url.slice(from + 1).replace(/#.*/, "")
  return UrlParams.toRecord(UrlParams.fromInput(new URLSearchParams(query)))
}

/** `GET /v1/orders`. */
const list = (orders: Orders["Service"]): HotRoute["answer"] =>
  Effect.fnUntraced(function*(request: HttpServerRequest) {
    const { cursor, limit = 50, ...filter } = yield* Effect.mapError(
      decodeQuery(queryOf(request.url)),
      (cause) => new HttpApiError.HttpApiSchemaError({ kind: "Query", cause })
    )
    const before = yield* Effect.fromResult(Page.after(cursor, isUuid))
    const page = yield* orders.list({ ...filter, before, limit })
    return Page.of(request.url, "orders", page.orders.map(Bodies.orderJson), page.next)
  }, Effect.catch((error) => answer(problemOf(error))))

const all = /^\/v1\/orders(?:[?#]|$)/
const one = /^\/v1\/orders\/[^/?#]+(?:[?#]|$)/

/** Finds the hot route of a request; undefined for all others. */
export const make = (
  orders: Orders["Service"],
  maxBodyBytes: number
): (request: HttpServerRequest) => HotRoute | undefined => {
  const placing: HotRoute = {
    name: "POST /v1/orders",
    isDeadlineAware: true,
    answer: place(orders, maxBodyBytes)
  }
  const reading: HotRoute = { name: "GET /v1/orders/:id", isDeadlineAware: true, answer: read(orders) }
  const listing: HotRoute = { name: "GET /v1/orders", isDeadlineAware: false, answer: list(orders) }
  return ({ method, url }) => {
    if (method === "POST") return all.test(url) ? placing : undefined
    if (method !== "GET" && method !== "HEAD") return undefined
    if (one.test(url)) return reading
    return all.test(url) ? listing : undefined
  }
}
