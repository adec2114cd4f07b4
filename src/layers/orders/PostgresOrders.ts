/** Orders in Postgres. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { Effect, Layer, Option, Stream } from "effect"
import * as Order from "../../services/orders/Order.ts"
import { maxPage, type OrderFilter, Orders } from "../../services/orders/Orders.ts"
import {
  OrderNotFound,
  OrderStateConflict,
  OrderVersionMismatch,
  TransferRefused
} from "../../services/orders/OrdersError.ts"
import * as Settlement from "../../services/orders/Settlement.ts"
import * as Columns from "../postgres/Columns.ts"
import * as Database from "../postgres/Database.ts"
import type { DatabaseError } from "../postgres/DatabaseError.ts"
import * as AcceptQueue from "./AcceptQueue.ts"
import * as OrderLookup from "./OrderLookup.ts"
import * as OrderRow from "./OrderRow.ts"
import * as OrderWatch from "./OrderWatch.ts"
import * as PostgresAccept from "./PostgresAccept.ts"
import * as PostgresPlan from "./PostgresPlan.ts"
import * as RequestLane from "./RequestLane.ts"
import * as StoreFailure from "./StoreFailure.ts"

/** How orders are accepted and followed. */
export interface Options extends AcceptQueue.Options {
  /** How often followed orders are looked at. @default 100 */
  readonly watchMillis?: number | undefined
}

/** In words that name the partial index of a rare status; none for the others, which have no index. */
const rarely = (reads: PgClient.PgClient, status: Order.OrderStatus | undefined) => {
  if (status === "failed") return reads`status = 'failed' and failure is not null`
  if (status === "cancelled") return reads`status = 'cancelled' and cancelled`
  if (status === "charging") return reads`status = 'charging' and charging_at is not null`
  return undefined
}

/** The orders that one page looks through for a status that has no index. */
const maxLook = 10_000

const list = Effect.fnUntraced(function*(reads: PgClient.PgClient, filter: OrderFilter) {
  const limit = Math.max(1, Math.min(maxPage, filter.limit ?? 50))
  const rare = rarely(reads, filter.status)
  const conditions = reads.and([
    ...(filter.customerId === undefined ? [] : [reads`customer_id = ${filter.customerId}`]),
    ...(rare === undefined ? [] : [rare]),
    ...(filter.before === undefined ? [] : [reads`id < ${filter.before}::uuid`])
  ])
  const columns = reads.literal(OrderRow.columns)
  const isLookedFor = filter.status !== undefined && rare === undefined
  const rows = yield* isLookedFor
    ? reads<OrderRow.OrderRow>`select * from (
        select ${columns} from sluice.orders where ${conditions} order by id desc limit ${maxLook}
      ) latest where status = ${filter.status} order by id desc limit ${limit}`
    : reads<OrderRow.OrderRow>`select ${columns} from sluice.orders
      where ${conditions} order by id desc limit ${limit}`
  const orders = rows.map(OrderRow.toOrder)
  if (orders.length === limit) return { orders, next: orders.at(-1)?.id }
  if (!isLookedFor) return { orders, next: undefined }
  const last = yield* reads<{ readonly id: string }>`
    select id from sluice.orders where ${conditions} order by id desc offset ${maxLook - 1} limit 1`
  return { orders, next: last[0]?.id }
})

const cancel = Effect.fnUntraced(function*(sql: PgClient.PgClient, id: string, ifVersion: number | undefined) {
  const { now, orders } = yield* PostgresPlan.lockOrders(sql, [id])
  const order = orders[0]
  if (order === undefined) return yield* new OrderNotFound({ id })
  if (ifVersion !== undefined && ifVersion !== order.version) {
    return yield* new OrderVersionMismatch({ id, expected: ifVersion, actual: order.version })
  }
  const books = yield* PostgresPlan.lockBooks(sql, orders)
  const plan = Settlement.cancel(order, books, now)
  if (plan === undefined) return yield* new OrderStateConflict({ id, status: order.status, action: "be cancelled" })
  if (typeof plan === "string") return yield* new TransferRefused({ reason: plan })
  yield* PostgresPlan.write(sql, plan)
  return plan.orders[0] ?? order
})

const make = Effect.fnUntraced(function*(options: Options) {
  const sql = yield* PgClient.PgClient
  const reads = yield* Database.ReadClient
  const transact = yield* RequestLane.make(sql, "the lane of cancelled orders")
  const { accept } = yield* AcceptQueue.make(PostgresAccept.flush(sql), options)

  const { changed } = yield* OrderWatch.make({
    look: (ids) =>
      reads<OrderWatch.Glimpse>`select id, version from sluice.orders where id = any(${Columns.uuids(ids)})`,
    everyMillis: options.watchMillis ?? 100,
    maxIds: 1000
  })

  const find = yield* OrderLookup.make(reads)

  const nextEvents = (id: string) =>
    Effect.fnUntraced(function*(version: number) {
      let order = yield* find(id)
      while (order.version <= version && !Order.isTerminal(order.status)) {
        yield* changed(id, order.version)
        order = yield* find(id)
      }
      const rest = Order.isTerminal(order.status) ? Option.none<number>() : Option.some(order.version)
      return [Order.eventsAfter(order, version), rest] as const
    })

  return Orders.of({
    accept,
    find,
    list: (filter) => StoreFailure.named("Orders.list")(list(reads, filter)),
    cancel: Effect.fn("Orders.cancel")(function*(id, options) {
      return yield* transact("Orders.cancel")(cancel(sql, id, options?.ifVersion))
    }),
    events: (id, afterVersion) => Stream.paginate(afterVersion ?? 0, nextEvents(id)),
    count: StoreFailure.named("Orders.count")(Effect.map(
      sql<{ readonly status: string; readonly orders: bigint }>`
        select status, count(*) as orders from sluice.orders group by status order by status`,
      (rows) => rows.map((row) => ({ status: row.status, orders: Number(row.orders) }))
    ))
  })
})

/** Orders in Postgres, accepted and followed as the options say. */
export const layerOptions = (
  options: Options
): Layer.Layer<Orders, DatabaseError, Database.Services> =>
  Layer.effect(Orders, Effect.andThen(Database.tables("orders"), make(options)))

/** Orders in Postgres. */
export const layer: Layer.Layer<Orders, DatabaseError, Database.Services> = layerOptions({})
