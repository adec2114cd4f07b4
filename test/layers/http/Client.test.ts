/** A client made from the API's description: answers and problems come back as what they are. */
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import * as HttpApiClient from "effect/http-api/HttpApiClient"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import { Api } from "../../../src/services/http/Api.ts"
import { FetchKeys } from "../../../src/services/http/FetchKeys.ts"
import * as Problem from "../../../src/services/http/Problem.ts"
import { KeyInFlight } from "../../../src/services/orders/OrdersError.ts"
import * as Harness from "../../support/ApiHarness.ts"
import * as Shop from "../../support/Shop.ts"

/** Keys that are always in flight. */
const busy = Layer.succeed(
  FetchKeys,
  FetchKeys.of({
    begin: ({ key }) => Effect.fail(new KeyInFlight({ key })),
    finish: () => Effect.void,
    release: () => Effect.void
  })
)

const app = Harness.serve().pipe(
  Layer.provide([Harness.ready, busy]),
  Layer.provideMerge(Layer.merge(Harness.memory, FetchHttpClient.layer))
)

it.live("an order that is placed, one that is refused, one that is not there, and a key in flight", () =>
  Effect.gen(function*() {
    yield* Shop.open(["alice"], 100_000n)
    yield* Shop.stock([Shop.product("p1")])
    const { fetches, orders } = yield* HttpApiClient.make(Api, { baseUrl: yield* Harness.baseUrl })
    const place = (sku: string) =>
      orders.placeOrder({
        headers: { "idempotency-key": `client-${sku}` },
        payload: { customerId: "alice", items: [{ sku, quantity: 1 }] }
      })
    const { body, headers } = yield* place("p1")
    assert.deepStrictEqual([body.status, body.total, headers.etag], ["accepted", 250n, "\"1\""])
    const refused = yield* Effect.flip(place("p2"))
    assert.isTrue(refused instanceof Problem.OrderRefused && refused.reason === "UnknownSku", String(refused))
    const absent = yield* Effect.flip(
      orders.getOrder({ params: { id: "00000000-0000-7000-8000-000000000000" }, headers: {} })
    )
    assert.instanceOf(absent, Problem.OrderNotFound)
    const inFlight = yield* Effect.flip(
      fetches.startFetch({ headers: { "idempotency-key": "k" }, payload: { urls: ["https://example.com/"] } })
    )
    assert.instanceOf(inFlight, Problem.IdempotencyKeyInFlight)
  }).pipe(Effect.provide(app)))
