/** The handlers of orders. */
import { Effect, type Layer, Stream } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import type * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import { ServedApi } from "../../services/http/Api.ts"
import { LongConnections } from "../../services/http/LongConnections.ts"
import type * as Problem from "../../services/http/Problem.ts"
import { Orders } from "../../services/orders/Orders.ts"
import * as Bodies from "./Bodies.ts"
import * as Feed from "./Feed.ts"
import { invalid, problemOf } from "./ProblemOf.ts"

/** The version that a client has seen: as Last-Event-ID, which a browser's WebSocket cannot send, or in the query. */
const seenVersion = (header: string | undefined, query: number | undefined): number =>
  /^\d{1,9}$/.test(header ?? "") ? Number(header) : query ?? 0

/** Everything that has happened to an order after a version and then happens. */
export const feedOf = (orders: Orders["Service"], id: string, after: number) => ({
  name: `events of order ${id}`,
  event: "order",
  items: Stream.map(orders.events(id, after), (event) => ({
    id: String(event.version),
    document: Bodies.eventJson(event)
  }))
})

/** Cancelling and following. */
export const layer: Layer.Layer<
  HttpApiGroup.Service<"sluice", "orders">,
  never,
  Orders | LongConnections
> = HttpApiBuilder.group(
  ServedApi,
  "orders",
  Effect.fnUntraced(function*(handlers) {
    const orders = yield* Orders
    const connections = yield* LongConnections
    return handlers.handleAll({
      cancelOrder: Effect.fnUntraced(function*({ headers, params }) {
        const ifVersion = yield* versionOf(headers["if-match"])
        const order = yield* orders.cancel(params.id, { ifVersion })
        return Bodies.json(Bodies.orderJson(order), { headers: { etag: Bodies.etag(order.version) } })
      }, Effect.mapError(problemOf)),
      orderEvents: Effect.fnUntraced(function*({ headers, params, query, request }) {
        yield* orders.find(params.id)
        const after = seenVersion(headers["last-event-id"], query.after)
        return yield* Effect.provideService(
          Feed.answer(request, feedOf(orders, params.id, after)),
          LongConnections,
          connections
        )
      }, Effect.mapError(problemOf))
    })
  })
)

/** The version that If-Match names: one strong tag, or `*` for any. */
const versionOf = (header: string | undefined): Effect.Effect<number | undefined, Problem.InvalidRequest> => {
  if (header === undefined || header.trim() === "*") return Effect.undefined
  const match = /^"(\d{1,9})"$/.exec(header.trim())
  return match === null
    ? Effect.fail(invalid(["headers", "if-match"], "Expected one ETag of this order, or *"))
    : Effect.succeed(Number(match[1]))
}
