import * as PgClient from "@effect/sql-pg/PgClient"
import { Effect, Layer } from "effect"
import { JobQueue } from "../../services/jobs/JobQueue.ts"
import { clearingAccount } from "../../services/orders/Account.ts"
import type { Order } from "../../services/orders/Order.ts"
import { Ship } from "../../services/orders/OrderJobs.ts"
import { OrderProcessor } from "../../services/orders/OrderProcessor.ts"
import { OrderNotFound } from "../../services/orders/OrdersError.ts"
import * as Settlement from "../../services/orders/Settlement.ts"
import * as Uuid from "../../services/postgres/Uuid.ts"
import * as Database from "../postgres/Database.ts"
import type { DatabaseError } from "../postgres/DatabaseError.ts"
import { openNew, toTransfer, type TransferRow } from "./PostgresLedger.ts"
import * as PostgresPlan from "./PostgresPlan.ts"
import * as StoreFailure from "./StoreFailure.ts"

type Queue = JobQueue["Service"]

/** Plan in hand: writes it, and enqueues what has to be shipped. */
const carryOut = Effect.fnUntraced(function*(sql: PgClient.PgClient, queue: Queue, plan: Settlement.Plan) {
  if (plan.orders.length === 0) return
  yield* PostgresPlan.write(sql, plan)
  if (plan.toShip.length === 0) return
  yield* queue.enqueueMany(Ship, plan.toShip.map((orderId) => ({ orderId }))).pipe(
    // The payloads were made here and fit their schema.
    Effect.catchTag(["JobPayloadInvalid", "JobOptionInvalid"], Effect.die)
  )
})

/** The orders with the changed ones in their places. */
const merged = (orders: ReadonlyArray<Order>, changed: ReadonlyArray<Order>): ReadonlyArray<Order> => {
  if (changed.length === 0) return orders
  const after = new Map(changed.map((order) => [order.id, order]))
  return orders.map((order) => after.get(order.id) ?? order)
}

/**
 * Paying needs no locked books: the constraints on balances and stock have the last word, so that a hot account is locked for one statement
 * and the commit. What is refused is refused with the books locked.
 */
const pay = Effect.fnUntraced(function*(sql: PgClient.PgClient, orders: ReadonlyArray<Order>, now: Date) {
  const plan = Settlement.settle(orders, yield* PostgresPlan.readBooks(sql, orders), now)
  return plan.orders.some((order) => order.status === "failed")
    ? Settlement.settle(orders, yield* PostgresPlan.lockBooks(sql, orders), now)
    : plan
})

const settle = Effect.fnUntraced(function*(sql: PgClient.PgClient, queue: Queue, ids: ReadonlyArray<string>) {
  const { now, orders } = yield* PostgresPlan.lockOrders(sql, ids)
  const open = orders.filter((order) => order.status === "accepted")
  if (open.length === 0) return orders
  const plan = yield* pay(sql, open, now)
  yield* carryOut(sql, queue, plan)
  return merged(orders, plan.orders)
})

const ship = Effect.fnUntraced(function*(sql: PgClient.PgClient, ids: ReadonlyArray<string>) {
  const { now, orders } = yield* PostgresPlan.lockOrders(sql, ids)
  const plan = Settlement.ship(orders, now)
  if (plan.orders.length === 0) return orders
  yield* PostgresPlan.write(sql, plan)
  return merged(orders, plan.orders)
})

const beginCharge = Effect.fnUntraced(function*(sql: PgClient.PgClient, queue: Queue, id: string) {
  const { now, orders } = yield* PostgresPlan.lockOrders(sql, [id])
  const order = orders[0]
  if (order === undefined) return yield* new OrderNotFound({ id })
  if (order.status !== "accepted") return order
  // The first card of a currency opens the account that its money comes from.
  yield* openNew(sql, [clearingAccount(order.currency)])
  const books = yield* PostgresPlan.lockBooks(sql, orders)
  const plan = Settlement.charge(order, books, Settlement.chargeTransfer(yield* Uuid.next, order, now), now)
  if (plan === undefined) return order
  yield* carryOut(sql, queue, plan)
  return plan.orders[0] ?? order
})

const endCharge = Effect.fnUntraced(function*(
  sql: PgClient.PgClient,
  queue: Queue,
  id: string,
  answer: "charged" | "declined"
) {
  const { now, orders } = yield* PostgresPlan.lockOrders(sql, [id])
  const order = orders[0]
  if (order === undefined) return yield* new OrderNotFound({ id })
  const rows = yield* sql<TransferRow>`
    select * from sluice.transfers where key = ${Settlement.chargeKey(id)} for no key update`
  if (rows[0] === undefined || order.status !== "charging") return order
  const books = yield* PostgresPlan.readBooks(sql, orders)
  const plan = Settlement.charged(order, { answer, transfer: toTransfer(rows[0]) }, books, now)
  if (plan === undefined) return order
  yield* carryOut(sql, queue, plan)
  return plan.orders[0] ?? order
})

const make = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  const queue = yield* JobQueue
  return OrderProcessor.of({
    settle: (ids) => StoreFailure.transact(sql, "OrderProcessor.settle")(settle(sql, queue, ids)),
    ship: (ids) => StoreFailure.transact(sql, "OrderProcessor.ship")(ship(sql, ids)),
    beginCharge: (id) => StoreFailure.transact(sql, "OrderProcessor.beginCharge")(beginCharge(sql, queue, id)),
    endCharge: (id, answer) => StoreFailure.transact(sql, "OrderProcessor.endCharge")(endCharge(sql, queue, id, answer))
  })
})

/** The work behind orders in Postgres: each member one transaction, or a part of the caller's. */
export const layer: Layer.Layer<OrderProcessor, DatabaseError, Database.Services | JobQueue> = Layer.effect(
  OrderProcessor,
  Effect.andThen(Database.tables("orders"), make)
)
