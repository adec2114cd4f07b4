/**
 * `GET /v1/orders/:id` by hand: the same answers as its description in the API, without decoding what one pattern checks and without encoding by schema.
 * Measured to pay: see docs/benchmarks.md.
 */
import { Effect, type Layer } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Problem from "../../services/http/Problem.ts"
import { Orders } from "../../services/orders/Orders.ts"
import * as Bodies from "./Bodies.ts"
import { problemOf } from "./Problems.ts"

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

const invalidId = new Problem.InvalidRequest({
  detail: "Request validation failed",
  errors: [{ path: ["params", "id"], message: "Expected a UUID in lower case" }]
})

/** The hot read. */
export const layer: Layer.Layer<never, never, HttpRouter.HttpRouter | Orders> = HttpRouter.use((router) =>
  Effect.flatMap(Orders, (orders) =>
    router.add(
      "GET",
      "/v1/orders/:id",
      Effect.withFiber((fiber) => {
        const request = fiber.context.mapUnsafe.get(HttpServerRequest.key) as HttpServerRequest
        const url = request.url
        const end = url.indexOf("?")
        const id = url.slice("/v1/orders/".length, end === -1 ? undefined : end)
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
      })
    ))
)
