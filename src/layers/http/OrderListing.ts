/** `GET /v1/orders`. */
import { Effect, Schema } from "effect"
import * as HttpApiError from "effect/http-api/HttpApiError"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import * as UrlParams from "effect/http/UrlParams"
import { listQuery } from "../../services/http/OrdersGroup.ts"
import { OrderId } from "../../services/orders/Ids.ts"
import type { Orders } from "../../services/orders/Orders.ts"
import * as Bodies from "./Bodies.ts"
import * as Page from "./Page.ts"
import { problemOf } from "./ProblemOf.ts"

const isOrderId = Schema.is(OrderId)

const decodeQuery = Schema.decodeUnknownEffect(Schema.Struct(listQuery))

const queryOf = (url: string): Record<string, unknown> => {
  const from = url.indexOf("?")
  const query = from === -1 ? "" : url.slice(from + 1).replace(/#.*/, "")
  return UrlParams.toRecord(UrlParams.fromInput(new URLSearchParams(query)))
}

/** The answer to a request for a page of orders. */
export const make = (orders: Orders["Service"]) => (request: HttpServerRequest): Effect.Effect<HttpServerResponse> =>
  Effect.gen(function*() {
    const query = yield* Effect.mapError(
      decodeQuery(queryOf(request.url)),
      (cause) => new HttpApiError.HttpApiSchemaError({ kind: "Query", cause })
    )
    const before = yield* Effect.fromResult(Page.after(query.cursor, isOrderId))
    const page = yield* orders.list({
      customerId: query.customerId,
      status: query.status,
      before,
      limit: query.limit ?? 50
    })
    return Page.of(request.url, "orders", page.orders.map(Bodies.orderJson), page.next)
  }).pipe(Effect.catch((error) => HttpServerRespondable.toResponse(problemOf(error))))
