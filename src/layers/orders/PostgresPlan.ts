/**
 * Loading and locking what a settlement reads, and writing what it decides. Locks are taken in one order by everyone (orders, accounts,
 * products; each by id), so no two transactions can wait for each other.
 */
import type * as PgClient from "@effect/sql-pg/PgClient"
import { Effect } from "effect"
import { SerializationError, SqlError } from "effect/sql/SqlError"
import type { Order } from "../../services/orders/Order.ts"
import {
  accountsOf,
  type AccountState,
  type Books,
  type Plan,
  type ProductState
} from "../../services/orders/Settlement.ts"
import type { Transfer } from "../../services/orders/Transfer.ts"
import * as Columns from "../postgres/Columns.ts"
import * as SqlFunction from "../postgres/SqlFunction.ts"
import * as OrderRow from "./OrderRow.ts"

interface LockedRow extends OrderRow.OrderRow {
  readonly now: Date
}

/** Locks orders, answering them by id, and the database's time. */
export const lockOrders = (sql: PgClient.PgClient, ids: ReadonlyArray<string>) =>
  Effect.map(
    sql<LockedRow>`select ${sql.literal(OrderRow.columns)}, now() as now from sluice.orders
      where id = any(${Columns.uuids(ids)}) order by id for no key update`,
    (rows) => ({ orders: rows.map(OrderRow.toOrder), now: rows[0]?.now ?? new Date(0) })
  )

/** An account, or a product when it has `on_hand`. */
interface BookRow {
  readonly id: string
  readonly currency: string
  readonly balance: bigint
  readonly held: bigint
  readonly allow_negative: boolean
  readonly on_hand: number | null
}

const selectBooks = (sql: PgClient.PgClient, lock: "" | "for no key update") =>
  Effect.fnUntraced(function*(orders: ReadonlyArray<Order>) {
    const ids = new Set<string>()
    const skus = new Set<string>()
    for (const order of orders) {
      for (const id of accountsOf(order)) ids.add(id)
      for (const item of order.items) skus.add(item.sku)
    }
    // One round trip. The parts of a `union all` run one after the other.
    const rows = yield* sql<BookRow>`
      with a as materialized (
        select id, currency, balance, held, allow_negative from sluice.accounts
        where id = any(${Columns.texts([...ids])}) order by id ${sql.literal(lock)}
      ), p as materialized (
        select sku, on_hand from sluice.products
        where sku = any(${Columns.texts([...skus])}) order by sku ${sql.literal(lock)}
      )
      select id, currency, balance, held, allow_negative, null::integer as on_hand from a
      union all select sku, null, null, null, null, on_hand from p`
    const accounts = new Map<string, AccountState>()
    const products = new Map<string, ProductState>()
    for (const row of rows) {
      if (row.on_hand !== null) products.set(row.id, { sku: row.id, onHand: row.on_hand })
      else {
        const { allow_negative: allowNegative, balance, currency, held, id } = row
        accounts.set(id, { id, currency, balance, held, allowNegative })
      }
    }
    const books: Books = { account: (id) => accounts.get(id), product: (sku) => products.get(sku) }
    return books
  })

/** Locks and reads every account and product that these orders can touch. */
export const lockBooks = (sql: PgClient.PgClient, orders: ReadonlyArray<Order>) =>
  selectBooks(sql, "for no key update")(orders)

/** The accounts and products that these orders can touch, as they were a moment ago. */
export const readBooks = (sql: PgClient.PgClient, orders: ReadonlyArray<Order>) => selectBooks(sql, "")(orders)

/** Writes a plan: what belongs to the orders alone, and then the books, which others wait for. */
export const write = Effect.fnUntraced(function*(sql: PgClient.PgClient, plan: Plan) {
  for (const transfer of plan.transfers) yield* writeTransfer(sql, transfer)
  yield* writeOrders(sql, plan)
  if (plan.accounts.size + plan.stock.size > 0) yield* writeBooks(sql, plan)
})

const writeOrders = (sql: PgClient.PgClient, { entries, orders }: Plan) =>
  SqlFunction.call(sql, "write_orders", {
    ids: Columns.uuids(orders.map((order) => order.id)),
    statuses: Columns.texts(orders.map((order) => order.status)),
    failures: Columns.texts(orders.map((order) => order.failure)),
    versions: Columns.ints(orders.map((order) => order.version)),
    charged: Columns.times(orders.map((order) => order.chargingAt)),
    paid: Columns.times(orders.map((order) => order.paidAt)),
    ended: Columns.times(orders.map((order) => order.endedAt)),
    entry_accounts: Columns.texts(entries.map((entry) => entry.account)),
    entry_sources: Columns.uuids(entries.map((entry) => entry.source)),
    entry_kinds: Columns.texts(entries.map((entry) => entry.kind)),
    entry_amounts: Columns.bigints(entries.map((entry) => entry.amount))
  })

/** Balances and stock. The constraints on them are the last word on a plan whose books were read and not locked. */
const writeBooks = (sql: PgClient.PgClient, plan: Plan) => {
  const accounts = [...plan.accounts]
  const stock = [...plan.stock]
  return SqlFunction.call(sql, "write_books", {
    accounts: Columns.texts(accounts.map(([id]) => id)),
    balances: Columns.bigints(accounts.map(([, delta]) => delta.balance)),
    helds: Columns.bigints(accounts.map(([, delta]) => delta.held)),
    skus: Columns.texts(stock.map(([sku]) => sku)),
    on_hands: Columns.ints(stock.map(([, delta]) => delta.onHand)),
    reserveds: Columns.ints(stock.map(([, delta]) => delta.reserved)),
    solds: Columns.ints(stock.map(([, delta]) => delta.sold))
  }).pipe(Effect.mapError(asConflict))
}

/** A constraint that does not hold says that others took what a plan had seen: the same as a serialization failure, and the same helps. */
const asConflict = (error: SqlError): SqlError =>
  error.reason._tag === "ConstraintError"
    ? new SqlError({ reason: new SerializationError({ cause: error.reason.cause, operation: "write_books" }) })
    : error

const writeTransfer = (sql: PgClient.PgClient, transfer: Transfer) =>
  sql`
    insert into sluice.transfers
      (id, key, from_account, to_account, amount, currency, reference, state, expires_at, created_at, resolved_at)
    values (${transfer.id}::uuid, ${transfer.key}, ${transfer.from}, ${transfer.to}, ${transfer.amount}, ${transfer.currency},
      ${transfer.reference}, ${transfer.state}, ${transfer.expiresAt}, ${transfer.createdAt}, ${transfer.resolvedAt})
    on conflict (id) do update set state = excluded.state, resolved_at = excluded.resolved_at`
