/**
 * Orders by id, those that are asked for at the same time in one statement: a statement costs the server far more than
 * a row of it. Alone, a lookup does not wait for company.
 */
import type * as PgClient from "@effect/sql-pg/PgClient"
import { Effect, Exit, type Scope } from "effect"
import type { Order } from "../../services/orders/Order.ts"
import { OrderNotFound, OrdersStoreError } from "../../services/orders/OrdersError.ts"
import * as GroupCommit from "../../services/tasks/GroupCommit.ts"
import * as Columns from "../postgres/Columns.ts"
import * as OrderRow from "./OrderRow.ts"
import * as StoreFailure from "./StoreFailure.ts"

/** Statements in flight: while they are under way, the next batch gathers. */
const inFlight = 2
/** Ids in one statement at most. */
const maxBatch = 100
/** Lookups that wait at most. */
const capacity = 10_000

/** A lookup over this client; its fibers end with the scope. */
export const make = (
  reads: PgClient.PgClient
): Effect.Effect<(id: string) => Effect.Effect<Order, OrderNotFound | OrdersStoreError>, never, Scope.Scope> =>
  Effect.map(
    GroupCommit.make<string, Order, OrderNotFound | OrdersStoreError>({
      flush: (ids) =>
        reads<OrderRow.OrderRow>`
        select ${reads.literal(OrderRow.columns)} from sluice.orders where id = any(${
          Columns.uuids([...new Set(ids)])
        })`
          .pipe(
            Effect.map((rows) => {
              const orders = new Map(rows.map((row) => [row.id, OrderRow.toOrder(row)]))
              return ids.map((id): Exit.Exit<Order, OrderNotFound> => {
                const order = orders.get(id)
                return order === undefined ? Exit.fail(new OrderNotFound({ id })) : Exit.succeed(order)
              })
            }),
            StoreFailure.named("Orders.find")
          ),
      isCommon: () => true,
      inFlight,
      isOverlapping: true,
      maxWeight: maxBatch,
      capacity,
      whenFull: () =>
        new OrdersStoreError({
          operation: "Orders.find",
          reason: "Unavailable",
          cause: "too many lookups are waiting"
        }),
      late: () =>
        new OrdersStoreError({ operation: "Orders.find", reason: "TimedOut", cause: "the caller's deadline has come" })
    }),
    (submit) => (id: string) => Effect.withFiber((fiber) => submit(id, fiber))
  )
