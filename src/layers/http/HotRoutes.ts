/**
 * The three routes that carry the traffic, by hand: the same answers as their descriptions in the API, without what a router and a builder do for every
 * kind of route. Measured to pay: see docs/benchmarks.md.
 */
import type { Effect } from "effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import type { HttpServerResponse } from "effect/http/HttpServerResponse"
import type { Orders } from "../../services/orders/Orders.ts"
import * as OrderListing from "./OrderListing.ts"
import * as OrderPlacing from "./OrderPlacing.ts"
import * as OrderReading from "./OrderReading.ts"

/** A route and what it answers; it has taken care of every error that it knows. */
export interface HotRoute {
  readonly name: string
  /** Whether everything that it waits for looks at the deadline by itself; otherwise a timer of its own holds it to that. */
  readonly heedsDeadline: boolean
  readonly answer: (request: HttpServerRequest, requestId: string) => Effect.Effect<HttpServerResponse>
}

const all = /^\/v1\/orders(?:[?#]|$)/
const one = /^\/v1\/orders\/[^/?#]+(?:[?#]|$)/

/** Finds the hot route of a request; undefined for all others. */
export const make = (
  orders: Orders["Service"],
  maxBodyBytes: number
): (request: HttpServerRequest) => HotRoute | undefined => {
  const placing: HotRoute = {
    name: "POST /v1/orders",
    heedsDeadline: true,
    answer: OrderPlacing.make(orders, maxBodyBytes)
  }
  const reading: HotRoute = { name: "GET /v1/orders/:id", heedsDeadline: true, answer: OrderReading.make(orders) }
  const listing: HotRoute = { name: "GET /v1/orders", heedsDeadline: false, answer: OrderListing.make(orders) }
  return ({ method, url }) => {
    if (method === "POST") return all.test(url) ? placing : undefined
    if (method !== "GET" && method !== "HEAD") return undefined
    if (one.test(url)) return reading
    return all.test(url) ? listing : undefined
  }
}
