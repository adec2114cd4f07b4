/** The orders wing on a database of a test's own. */
import { Effect, Layer } from "effect"
import * as PostgresFrontier from "../../src/layers/fetch/PostgresFrontier.ts"
import * as PostgresFetchKeys from "../../src/layers/http/PostgresFetchKeys.ts"
import * as OrdersApp from "../../src/programs/orders/App.ts"
import { isTerminal, type Order } from "../../src/services/orders/Order.ts"
import { Orders } from "../../src/services/orders/Orders.ts"
import { eventually } from "./eventually.ts"
import * as TestDatabase from "./TestDatabase.ts"

/** On the shared test server. */
export const app = Layer.mergeAll(OrdersApp.layer, PostgresFrontier.layer, PostgresFetchKeys.layer).pipe(
  Layer.provideMerge(TestDatabase.layer)
)

/** Waits until none of these orders can change any more. */
export const allEnded = Effect.fnUntraced(function*(ids: ReadonlyArray<string>) {
  const orders = yield* Orders
  return yield* Effect.forEach(ids, (id) =>
    eventually(
      Effect.catchTag(orders.find(id), "OrdersStoreError", () => Effect.undefined),
      (order): order is Order => order !== undefined && isTerminal(order.status)
    ), { concurrency: 20 })
})
