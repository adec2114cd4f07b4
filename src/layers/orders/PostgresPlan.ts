/**
 * Loading and locking what a settlement reads, and writing what it decides. Locks are taken in one order by everyone (orders, accounts, products; each by id),
 * so no two transactions can wait for each other.
 */
import type * as PgClient from "@effect/sql-pg/PgClient"
import { Effect } from "effect"
import type { Order } from "../../services/orders/Order.ts"
import {
  accountsOf,
  type AccountState,
  type Books,
  type Plan,
  type ProductState
} from "../../services/orders/Settlement.ts"
import * as Columns from "./Columns.ts"
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

interface AccountRow {
  readonly id: string
  readonly currency: string
  readonly balance: bigint
  readonly held: bigint
  readonly allow_negative: boolean
}

interface ProductRow {
  readonly sku: string
  readonly on_hand: number
}

/** Locks every account and product that these orders can touch. */
export const lockBooks = Effect.fnUntraced(function*(sql: PgClient.PgClient, orders: ReadonlyArray<Order>) {
  const ids = new Set<string>()
  const skus = new Set<string>()
  for (const order of orders) {
    for (const id of accountsOf(order)) ids.add(id)
    for (const item of order.items) skus.add(item.sku)
  }
  const accountRows = yield* sql<AccountRow>`
    select id, currency, balance, held, allow_negative from sluice.accounts
    where id = any(${Columns.texts([...ids])}) order by id for no key update`
  const productRows = yield* sql<ProductRow>`
    select sku, on_hand from sluice.products where sku = any(${
    Columns.texts([...skus])
  }) order by sku for no key update`
  const accounts = new Map<string, AccountState>(
    accountRows.map((row) => [row.id, { ...row, allowNegative: row.allow_negative }])
  )
  const products = new Map<string, ProductState>(
    productRows.map((row) => [row.sku, { sku: row.sku, onHand: row.on_hand }])
  )
  const books: Books = { account: (id) => accounts.get(id), product: (sku) => products.get(sku) }
  return books
})

/** Writes a plan in one statement: states, balances, stock, entries and transfers. */
export const write = (sql: PgClient.PgClient, plan: Plan) => {
  const { entries, orders, transfers } = plan
  const accounts = [...plan.accounts]
  const stock = [...plan.stock]
  const ordersChanged = sql`
    update sluice.orders o set status = n.status, failure = n.failure, version = n.version,
      charging_at = n.charging_at, paid_at = n.paid_at, ended_at = n.ended_at,
      cancelled = n.status = 'cancelled'
    from unnest(${Columns.uuids(orders.map((order) => order.id))}, ${
    Columns.texts(orders.map((order) => order.status))
  }, ${Columns.texts(orders.map((order) => order.failure))}, ${Columns.ints(orders.map((order) => order.version))}, ${
    Columns.times(orders.map((order) => order.chargingAt))
  }, ${Columns.times(orders.map((order) => order.paidAt))}, ${
    Columns.times(orders.map((order) => order.endedAt))
  }) n (id, status, failure, version, charging_at, paid_at, ended_at)
    where o.id = n.id`
  if (accounts.length + stock.length + entries.length + transfers.length === 0) return Effect.asVoid(ordersChanged)
  const accountsChanged = sql`
    update sluice.accounts a set balance = a.balance + d.balance, held = a.held + d.held, version = a.version + 1
    from unnest(${Columns.texts(accounts.map(([id]) => id))}, ${
    Columns.bigints(accounts.map(([, delta]) => delta.balance))
  }, ${Columns.bigints(accounts.map(([, delta]) => delta.held))}) d (id, balance, held) where a.id = d.id`
  const stockChanged = sql`
    update sluice.products p set on_hand = p.on_hand + d.on_hand, reserved = p.reserved + d.reserved, sold = p.sold + d.sold
    from unnest(${Columns.texts(stock.map(([sku]) => sku))}, ${Columns.ints(stock.map(([, delta]) => delta.onHand))}, ${
    Columns.ints(stock.map(([, delta]) => delta.reserved))
  }, ${Columns.ints(stock.map(([, delta]) => delta.sold))}) d (sku, on_hand, reserved, sold) where p.sku = d.sku`
  const entriesAdded = sql`
    insert into sluice.ledger_entries (account, source, kind, amount)
    select * from unnest(${Columns.texts(entries.map((entry) => entry.account))}, ${
    Columns.uuids(entries.map((entry) => entry.source))
  }, ${Columns.texts(entries.map((entry) => entry.kind))}, ${Columns.bigints(entries.map((entry) => entry.amount))})`
  const rest = sql`with o as (${ordersChanged}), a as (${accountsChanged}), p as (${stockChanged}) ${entriesAdded}`
  return transfers.length === 0 ? Effect.asVoid(rest) : Effect.andThen(writeTransfers(sql, plan), Effect.asVoid(rest))
}

const writeTransfers = (sql: PgClient.PgClient, { transfers }: Plan) =>
  Effect.forEach(transfers, (transfer) =>
    sql`
      insert into sluice.transfers
        (id, key, from_account, to_account, amount, currency, reference, state, expires_at, created_at, resolved_at)
      values (${transfer.id}::uuid, ${transfer.key}, ${transfer.from}, ${transfer.to}, ${transfer.amount}, ${transfer.currency},
        ${transfer.reference}, ${transfer.state}, ${transfer.expiresAt}, ${transfer.createdAt}, ${transfer.resolvedAt})
      on conflict (id) do update set state = excluded.state, resolved_at = excluded.resolved_at`, { discard: true })
