/** `POST /v1/orders`. */
import { Duration, Effect, Schema, Stream } from "effect"
import * as ByteSize from "effect/ByteSize"
import * as HttpApiError from "effect/http-api/HttpApiError"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import type { HttpServerError } from "effect/http/HttpServerError"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import * as Problem from "../../services/http/Problem.ts"
import type { Receipt } from "../../services/orders/Ledger.ts"
import * as Order from "../../services/orders/Order.ts"
import type { Orders } from "../../services/orders/Orders.ts"
import * as Bodies from "./Bodies.ts"
import { problemOf } from "./ProblemOf.ts"
import { keyOf, waitSeconds } from "./RequestHeaders.ts"

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

const addressOf = (order: Order.Order) => ({ location: `/v1/orders/${order.id}`, etag: Bodies.etag(order.version) })

const replayed = { "idempotent-replayed": "true" }

const accepted = ({ isReplayed, value }: Receipt<Order.Order>): HttpServerResponse =>
  Bodies.json(Bodies.orderJson(value), {
    status: 202,
    headers: { ...addressOf(value), ...(isReplayed ? replayed : {}) }
  })

/** The order at its end, or where it is when the time is over. */
const awaitEnd = (orders: Orders["Service"], { isReplayed, value }: Receipt<Order.Order>, seconds: number) =>
  Stream.runDrain(orders.events(value.id, value.version)).pipe(
    Effect.timeoutOption(Duration.seconds(seconds)),
    Effect.andThen(orders.find(value.id)),
    // It was accepted, and orders are never removed.
    Effect.catchTag("OrderNotFound", Effect.die),
    Effect.map((order) =>
      Bodies.json(Bodies.orderJson(order), {
        status: Order.isTerminal(order.status) ? 200 : 202,
        headers: {
          ...addressOf(order),
          "preference-applied": `wait=${seconds}`,
          ...(isReplayed ? replayed : {})
        }
      })
    )
  )

/** The answer to a request that places an order. */
export const make = (orders: Orders["Service"], maxBodyBytes: number) => {
  const maxBody = ByteSize.fromInputUnsafe(maxBodyBytes)
  return (request: HttpServerRequest, requestId: string): Effect.Effect<HttpServerResponse> => {
    const seconds = waitSeconds(request.headers["prefer"])
    return keyOf(request.headers["idempotency-key"]).pipe(
      Effect.flatMap((key) =>
        Effect.flatMap(readBody(request, maxBody), (body) => orders.accept(key, body, requestId))
      ),
      Effect.flatMap((receipt) =>
        seconds === 0 ? Effect.succeed(accepted(receipt)) : awaitEnd(orders, receipt, seconds)
      ),
      Effect.catch((error) => HttpServerRespondable.toResponse(problemOf(error)))
    )
  }
}
