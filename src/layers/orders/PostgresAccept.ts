/** Accepting orders in Postgres, many in one transaction: each order with the job that pays it, or neither. */
import type * as PgClient from "@effect/sql-pg/PgClient"
import { Effect, Exit, Result } from "effect"
import type { JobQueueError } from "../../services/jobs/JobError.ts"
import type { JobQueue } from "../../services/jobs/JobQueue.ts"
import type { Receipt } from "../../services/orders/Ledger.ts"
import * as Order from "../../services/orders/Order.ts"
import { Charge, type OrderJob, Settle } from "../../services/orders/OrderJobs.ts"
import { KeyReused, type OrderRefused, type OrdersStoreError } from "../../services/orders/OrdersError.ts"
import * as Pricing from "../../services/orders/Pricing.ts"
import * as Columns from "./Columns.ts"
import * as OrderRow from "./OrderRow.ts"
import * as StoreFailure from "./StoreFailure.ts"

/** One request on its way into the database. */
export interface Placement {
  readonly id: string
  readonly key: string
  readonly request: Order.OrderRequest
  readonly requestId: string | undefined
}

/** What a placement is answered. */
export type Answer = Exit.Exit<Receipt<Order.Order>, OrderRefused | KeyReused | OrdersStoreError>

interface PriceRow {
  readonly sku: string
  readonly price: bigint
  readonly currency: string
  readonly seller: string
  readonly is_shipped: boolean
}

interface KeyedRow extends OrderRow.OrderRow {
  readonly key: string
}

const loadPrices = Effect.fnUntraced(function*(sql: PgClient.PgClient, placements: ReadonlyArray<Placement>) {
  const customers = new Set<string>()
  const skus = new Set<string>()
  for (const { request } of placements) {
    customers.add(request.customerId)
    for (const item of request.items) skus.add(item.sku)
  }
  const [accounts, products] = yield* Effect.all([
    sql<{ readonly id: string; readonly currency: string }>`
      select id, currency from sluice.accounts where id = any(${Columns.texts([...customers])})`,
    sql<PriceRow>`
      select sku, price, currency, seller, is_shipped from sluice.products where sku = any(${Columns.texts([...skus])})`
  ], { concurrency: 2 })
  const currencies = new Map(accounts.map((row) => [row.id, row.currency]))
  const prices = new Map(products.map((row) => [row.sku, { ...row, isShipped: row.is_shipped }]))
  const books: Pricing.PriceBooks = {
    currencyOf: (account) => currencies.get(account),
    product: (sku) => prices.get(sku)
  }
  return books
})

interface Placed {
  readonly placement: Placement
  readonly order: Order.Order
}

/** Writes the orders whose keys are new; answers when each was accepted. */
const insert = Effect.fnUntraced(function*(sql: PgClient.PgClient, placed: ReadonlyArray<Placed>) {
  const orders = placed.map(({ order }) => order)
  const rows = yield* sql<{ readonly id: string; readonly accepted_at: Date }>`
    insert into sluice.orders (id, key, customer_id, status, items, total, currency, payment, note)
    select id, key, customer_id, 'accepted', items::jsonb, total, currency, payment, note
    from unnest(${Columns.uuids(orders.map((order) => order.id))}, ${
    Columns.texts(placed.map(({ placement }) => placement.key))
  }, ${Columns.texts(orders.map((order) => order.customerId))}, ${Columns.texts(orders.map(OrderRow.itemsJson))}, ${
    Columns.bigints(orders.map((order) => order.total))
  }, ${Columns.texts(orders.map((order) => order.currency))}, ${Columns.texts(orders.map((order) => order.payment))}, ${
    Columns.texts(orders.map((order) => order.note))
  }) n (id, key, customer_id, items, total, currency, payment, note)
    order by key
    on conflict (key) do nothing returning id, accepted_at`
  return new Map(rows.map((row) => [row.id, row.accepted_at]))
})

const jobOf = ({ order, placement }: Placed): OrderJob =>
  placement.requestId === undefined ? { orderId: order.id } : { orderId: order.id, requestId: placement.requestId }

/** Orders and jobs in one transaction. */
const write = (sql: PgClient.PgClient, queue: JobQueue["Service"], placed: ReadonlyArray<Placed>) =>
  Effect.gen(function*() {
    const accepted = yield* insert(sql, placed)
    const fresh = placed.filter(({ order }) => accepted.has(order.id))
    const enqueue = (kind: typeof Settle | typeof Charge, payment: "account" | "card") => {
      const jobs = fresh.filter(({ order }) => order.payment === payment).map(jobOf)
      return jobs.length === 0 ? Effect.void : queue.enqueueMany(kind, jobs)
    }
    yield* enqueue(Settle, "account")
    yield* enqueue(Charge, "card")
    return accepted
  }).pipe(
    // The payloads were made here and fit their schema.
    Effect.catchTag("JobPayloadInvalid", Effect.die),
    StoreFailure.transact(sql, "Orders.accept")
  )

/** What the keys that were known before are answered with. */
const replays = Effect.fnUntraced(function*(sql: PgClient.PgClient, placements: ReadonlyArray<Placement>) {
  if (placements.length === 0) return new Map<string, Order.Order>()
  const rows = yield* sql<KeyedRow>`
    select key, ${sql.literal(OrderRow.columns)} from sluice.orders
    where key = any(${Columns.texts(placements.map((placement) => placement.key))})`
  return new Map(rows.map((row) => [row.key, OrderRow.toOrder(row)]))
})

const answerReplay = ({ key, request }: Placement, known: Order.Order): Answer =>
  Order.canonical(Pricing.requestOf(known)) === Order.canonical(request)
    ? Exit.succeed({ value: Pricing.asAccepted(known), isReplayed: true })
    : Exit.fail(new KeyReused({ key }))

/**
 * Accepts a batch: prices it, writes what is new, and answers each. Keys must be different within a batch. What is refused is answered by itself and
 * writes nothing.
 */
export const flush = (sql: PgClient.PgClient, queue: JobQueue["Service"]) =>
  Effect.fnUntraced(function*(
    placements: ReadonlyArray<Placement>
  ): Effect.fn.Return<ReadonlyArray<Answer>, OrdersStoreError | JobQueueError> {
    const books = yield* loadPrices(sql, placements).pipe(StoreFailure.named("Orders.accept"))
    const priced = placements.map((placement) => ({
      placement,
      order: Pricing.place(placement.id, placement.request, books, new Date(0))
    }))
    const placed = priced.flatMap(({ order, placement }) =>
      Result.isSuccess(order) ? [{ placement, order: order.success }] : []
    )
    const accepted = placed.length === 0 ? new Map<string, Date>() : yield* write(sql, queue, placed)
    const known = yield* replays(sql, placements.filter(({ id }) => !accepted.has(id))).pipe(
      StoreFailure.named("Orders.accept")
    )
    return priced.map(({ order, placement }): Answer => {
      const first = known.get(placement.key)
      if (first !== undefined) return answerReplay(placement, first)
      if (Result.isFailure(order)) return Exit.fail(order.failure)
      return Exit.succeed({
        value: { ...order.success, acceptedAt: accepted.get(placement.id) ?? order.success.acceptedAt },
        isReplayed: false
      })
    })
  })
