/**
 * The two routes that carry the traffic, by hand: the same answers as their descriptions in the API, without what a router and a builder do for every
 * kind of route. Measured to pay: see docs/benchmarks.md.
 */
import type { Effect } from "effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import type { Orders } from "../../services/orders/Orders.ts"
import * as OrderPlacing from "./OrderPlacing.ts"
import * as OrderReading from "./OrderReading.ts"

/** A route and what it answers; it has taken care of every error that it knows. */
export interface HotRoute {
  readonly name: string
  readonly answer: (request: HttpServerRequest, requestId: string) => Effect.Effect<HttpServerResponse>
}

const place = /^\/v1\/orders(?:[?#]|$)/
const read = /^\/v1\/orders\/[^/?#]+(?:[?#]|$)/

/** Finds the hot route of a request; undefined for all others. */
export const make = (
  orders: Orders["Service"],
  maxBodyBytes: number
): (request: HttpServerRequest) => HotRoute | undefined => {
  const placing: HotRoute = { name: "POST /v1/orders", answer: OrderPlacing.make(orders, maxBodyBytes) }
  const reading: HotRoute = { name: "GET /v1/orders/:id", answer: OrderReading.make(orders) }
  return ({ method, url }) => {
    if (method === "POST") return place.test(url) ? placing : undefined
    return (method === "GET" || method === "HEAD") && read.test(url) ? reading : undefined
  }
}
