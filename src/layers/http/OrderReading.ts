/** `GET /v1/orders/:id`. */
import { Effect } from "effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Problem from "../../services/http/Problem.ts"
import type { Orders } from "../../services/orders/Orders.ts"
import * as Addresses from "./Addresses.ts"
import * as Bodies from "./Bodies.ts"
import { problemOf } from "./ProblemOf.ts"

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

const invalidId = new Problem.InvalidRequest({
  detail: "Request validation failed",
  errors: [{ path: ["params", "id"], message: "Expected a UUID in lower case" }]
})

/** The answer to a request for one order. */
export const make =
  (orders: Orders["Service"]) => (request: HttpServerRequest): Effect.Effect<HttpServerResponse.HttpServerResponse> => {
    const id = Addresses.pathOf(request.url).slice("/v1/orders/".length)
    if (!uuid.test(id)) return HttpServerRespondable.toResponse(invalidId)
    return Effect.matchEffect(orders.find(id), {
      onFailure: (error) => HttpServerRespondable.toResponse(problemOf(error)),
      onSuccess: (order) => {
        const etag = Bodies.etag(order.version)
        const known = request.headers["if-none-match"]
        return Effect.succeed(
          known !== undefined && Bodies.names(known, order.version)
            ? HttpServerResponse.empty({ status: 304, headers: { etag } })
            : Bodies.json(Bodies.orderJson(order), { headers: { etag } })
        )
      }
    })
  }
