/** JSON bodies and their headers, built by hand where many of them are sent. The tests hold them against the schemas. */
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type { Order, OrderEvent } from "../../services/orders/Order.ts"

/** An order as its schema encodes it. */
export const orderJson = (order: Order) => ({
  id: order.id,
  customerId: order.customerId,
  status: order.status,
  items: order.items.map((item) => ({
    sku: item.sku,
    quantity: item.quantity,
    unitPrice: String(item.unitPrice),
    seller: item.seller,
    isShipped: item.isShipped
  })),
  total: String(order.total),
  currency: order.currency,
  payment: order.payment,
  note: order.note,
  failure: order.failure,
  version: order.version,
  acceptedAt: order.acceptedAt.toISOString(),
  chargingAt: order.chargingAt === null ? null : order.chargingAt.toISOString(),
  paidAt: order.paidAt === null ? null : order.paidAt.toISOString(),
  endedAt: order.endedAt === null ? null : order.endedAt.toISOString()
})

/** An event as its schema encodes it. */
export const eventJson = (event: OrderEvent) => ({ ...event, at: event.at.toISOString() })

/** A strong entity tag. */
export const etag = (version: number): string => `"${version}"`

/** A JSON answer. */
export const json = (
  body: unknown,
  options: { readonly status?: number; readonly headers?: Record<string, string> } = {}
): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.text(JSON.stringify(body), {
    status: options.status ?? 200,
    contentType: "application/json",
    headers: options.headers
  })

/** Whether a precondition's header names this version: `*`, or a list that holds it (RFC 9110 section 13.1). */
export const hasVersion = (header: string, version: number): boolean =>
  header.trim() === "*" || header.split(",").some((tag) => tag.trim().replace(/^W\//, "") === etag(version))

/** The `Link` header to the next page: this address with another cursor. */
export const nextLink = (url: string, cursor: string): string => {
  const [path = "/", query = ""] = url.split("?")
  const params = new URLSearchParams(query)
  params.set("cursor", cursor)
  return `<${path}?${params.toString()}>; rel="next"`
}
