/** The routes of orders. */
import { Schema } from "effect"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import { AccountId } from "../orders/Account.ts"
import { OrderId } from "../orders/Ids.ts"
import { Order, OrderEvent, OrderRequest, OrderStatus } from "../orders/Order.ts"
import * as Problem from "./Problem.ts"
import { common, documented, followed, keyed, KeyHeader, paging, wholeFromText } from "./Route.ts"

const OrderBody = Order.annotate({ identifier: "Order" })

const placedHeaders = {
  location: Schema.String,
  etag: Schema.String,
  "idempotent-replayed": Schema.optionalKey(Schema.String)
}

const place = HttpApiEndpoint.post("placeOrder", "/v1/orders", {
  headers: { "idempotency-key": KeyHeader, prefer: Schema.optionalKey(Schema.String) },
  payload: OrderRequest.annotate({ identifier: "OrderRequest" }),
  success: [
    HttpApiSchema.WithHeaders(OrderBody.pipe(HttpApiSchema.status(202)), {
      ...placedHeaders,
      "preference-applied": Schema.optionalKey(Schema.String)
    }),
    HttpApiSchema.WithHeaders(OrderBody, {
      ...placedHeaders,
      "preference-applied": Schema.String
    })
  ],
  error: [...keyed, Problem.OrderRefused]
}).annotateMerge(documented(
  "Place an order",
  "Answers 202 when the order is on disk; workers pay and ship it. With `Prefer: wait=N` (seconds, at most 30) it waits for the order's end and answers 200 " +
    "with it, or 202 with where it is by then. A repeated Idempotency-Key gets the first answer again, with `Idempotent-Replayed: true`.",
  { 202: "The order is on disk; its end is still to come.", 200: "The order, at its end." }
))

const get = HttpApiEndpoint.get("getOrder", "/v1/orders/:id", {
  params: { id: OrderId },
  headers: { "if-none-match": Schema.optionalKey(Schema.String) },
  success: [
    HttpApiSchema.WithHeaders(OrderBody, { etag: Schema.String }),
    HttpApiSchema.Empty(304)
  ],
  error: [...common, Problem.OrderNotFound]
}).annotateMerge(
  documented("Read an order", "The ETag is the order's version: strong, and good for If-None-Match and for If-Match.", {
    200: "The order as it is now.",
    304: "The order is still at the version that If-None-Match names."
  })
)

/** A version that a follower has seen. */
const Version = wholeFromText({ minimum: 0, maximum: 999_999_999 }).annotate({
  description: "The version of the last event that you have: only later ones are told."
})

const Page = Schema.Struct({
  orders: Schema.Array(OrderBody),
  /** The cursor of the next page; absent on the last one. */
  next: Schema.optionalKey(Schema.String)
}).annotate({ identifier: "OrderPage" })

/** What a list of orders may be asked for. */
export const listQuery = {
  customerId: Schema.optionalKey(AccountId),
  status: Schema.optionalKey(OrderStatus),
  ...paging
}

const list = HttpApiEndpoint.get("listOrders", "/v1/orders", {
  query: listQuery,
  success: HttpApiSchema.WithHeaders(Page, { link: Schema.optionalKey(Schema.String) }),
  error: common
}).annotateMerge(documented(
  "List orders",
  "The latest first, 50 on a page unless `limit` says otherwise. The next page is at `Link: rel=\"next\"`; there are no totals, and no page slows down with its depth. " +
    "A page of a rare status may be short, or empty, and still have a next one.",
  { 200: "A page of orders." }
))

const cancel = HttpApiEndpoint.post("cancelOrder", "/v1/orders/:id/cancel", {
  params: { id: OrderId },
  headers: { "if-match": Schema.optionalKey(Schema.String) },
  success: HttpApiSchema.WithHeaders(OrderBody, { etag: Schema.String }),
  error: [
    ...common,
    Problem.OrderNotFound,
    Problem.OrderStateConflict,
    Problem.VersionMismatch,
    Problem.TransferRefused
  ]
}).annotateMerge(documented(
  "Cancel an order",
  "While it is accepted or paid. Money and stock go back in the same transaction. With If-Match only the version that you read.",
  { 200: "The order, cancelled." }
))

const events = HttpApiEndpoint.get("orderEvents", "/v1/orders/:id/events", {
  params: { id: OrderId },
  headers: { "last-event-id": Schema.optionalKey(Schema.String) },
  query: { after: Schema.optionalKey(Version) },
  success: HttpApiSchema.StreamSse({ data: OrderEvent.annotate({ identifier: "OrderEvent" }) }),
  error: [...common, ...followed, Problem.OrderNotFound]
}).annotateMerge(documented(
  "Follow an order",
  "Everything that has happened, then what happens, until the order's end: as server-sent events or, with `Upgrade: websocket`, as messages of a WebSocket, with the " +
    "same documents. The event's id is the order's version; after a reconnect `Last-Event-ID`, or `after` in the query, continues where the stream broke.",
  { 200: "The order's events, as they happen." }
))

/** The routes that HttpApiBuilder serves. */
export const served = HttpApiGroup.make("orders").add(cancel, events)

/**
 * All routes, for the document and for clients: `placeOrder`, `getOrder` and `listOrders` are routed by hand, because that is measured to
 * pay.
 */
export const group = HttpApiGroup.make("orders").add(place, get, list, cancel, events).annotateMerge(
  OpenApi.annotations({ description: "Orders: placed once, followed, cancelled." })
)
