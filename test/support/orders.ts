/** The orders wing on a database of a test's own. */
import { Effect, Layer, Schedule } from "effect"
import * as PostgresFrontier from "../../src/layers/fetch/PostgresFrontier.ts"
import * as PostgresFetchKeys from "../../src/layers/http/PostgresFetchKeys.ts"
import * as OrdersApp from "../../src/programs/orders/App.ts"
import { isTerminal } from "../../src/services/orders/Order.ts"
import { Orders } from "../../src/services/orders/Orders.ts"
import * as TestDatabase from "./TestDatabase.ts"

/** On the shared test server. */
export const app = Layer.mergeAll(OrdersApp.layer, PostgresFrontier.layer, PostgresFetchKeys.layer).pipe(
  Layer.provideMerge(TestDatabase.layer)
)

/** Waits until none of these orders can change any more. */
export const allEnded = Effect.fnUntraced(function*(ids: ReadonlyArray<string>) {
  const orders = yield* Orders
  return yield* Effect.forEach(ids, (id) =>
    orders.find(id).pipe(
      Effect.retry({ schedule: Schedule.spaced("50 millis"), while: (error) => error._tag === "OrdersStoreError" }),
      Effect.repeat({ schedule: Schedule.spaced("20 millis"), until: (order) => isTerminal(order.status) })
    ), { concurrency: 20 })
})
