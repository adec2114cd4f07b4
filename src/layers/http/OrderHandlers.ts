/** The handlers of orders. */
import { Effect, type Layer, Schedule, Stream } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import type * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { ServedApi } from "../../services/http/Api.ts"
import type * as Problem from "../../services/http/Problem.ts"
import type * as Order from "../../services/orders/Order.ts"
import { Orders } from "../../services/orders/Orders.ts"
import * as Shutdown from "../../services/tasks/Shutdown.ts"
import * as Bodies from "./Bodies.ts"
import { invalid, problemOf } from "./ProblemOf.ts"

/** Comments between events keep proxies from closing a quiet stream. */
const keepAlive = Stream.fromSchedule(Schedule.spaced("15 seconds")).pipe(Stream.map(() => ": still here\n\n"))

const eventText = (event: Order.OrderEvent): string =>
  `id: ${event.version}\nevent: order\ndata: ${JSON.stringify(Bodies.eventJson(event))}\n\n`

/** A client that lost the stream comes back after a second with Last-Event-ID. */
const preamble = "retry: 1000\n\n"

/** Everything that has happened to an order and then happens, as the text of server-sent events; ends when the process drains. */
export const eventStream = (orders: Orders["Service"], id: string, after: number) =>
  Stream.succeed(preamble).pipe(
    Stream.concat(Stream.merge(
      Stream.map(orders.events(id, after), eventText),
      keepAlive,
      { haltStrategy: "left" }
    )),
    // A store that fails in mid-stream ends the stream: the client comes back and learns of it as a problem.
    Stream.catchCause((cause) => Stream.drain(Stream.fromEffect(Effect.logDebug("an event stream broke", cause)))),
    Stream.interruptWhen(Shutdown.awaitDraining),
    Stream.encodeText
  )

/** Cancelling and following. */
export const layer: Layer.Layer<HttpApiGroup.Service<"sluice", "orders">, never, Orders> = HttpApiBuilder.group(
  ServedApi,
  "orders",
  Effect.fnUntraced(function*(handlers) {
    const orders = yield* Orders
    return handlers.handleAll({
      cancelOrder: Effect.fnUntraced(function*({ headers, params }) {
        const ifVersion = yield* versionOf(headers["if-match"])
        const order = yield* orders.cancel(params.id, { ifVersion })
        return Bodies.json(Bodies.orderJson(order), { headers: { etag: Bodies.etag(order.version) } })
      }, Effect.mapError(problemOf)),
      orderEvents: Effect.fnUntraced(function*({ headers, params }) {
        yield* orders.find(params.id)
        const last = headers["last-event-id"] ?? ""
        const after = /^\d{1,9}$/.test(last) ? Number(last) : 0
        return HttpServerResponse.stream(eventStream(orders, params.id, after), {
          contentType: "text/event-stream",
          headers: { "cache-control": "no-store", "x-accel-buffering": "no" }
        })
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
