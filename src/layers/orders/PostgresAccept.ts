/** Accepting orders in Postgres, many in one statement: each order with the job that pays it, or neither. */
import type * as PgClient from "@effect/sql-pg/PgClient"
import { Clock, Effect, Exit, Result } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import * as JobQueue from "../../services/jobs/JobQueue.ts"
import type { NewJob } from "../../services/jobs/JobStore.ts"
import type { Receipt } from "../../services/orders/Ledger.ts"
import * as Order from "../../services/orders/Order.ts"
import { Charge, type OrderJob, Settle } from "../../services/orders/OrderJobs.ts"
import { KeyReused, type OrderRefused, OrdersStoreError } from "../../services/orders/OrdersError.ts"
import * as Pricing from "../../services/orders/Pricing.ts"
import * as Uuid from "../../services/postgres/Uuid.ts"
import * as Columns from "../postgres/Columns.ts"
import * as SqlFunction from "../postgres/SqlFunction.ts"
import * as Transaction from "../postgres/Transaction.ts"
import * as OrderRow from "./OrderRow.ts"
import { type BatchPrices, PriceMemory } from "./PriceMemory.ts"
import { StoreClock } from "./StoreClock.ts"
import * as StoreFailure from "./StoreFailure.ts"

/** One request on its way into the database. */
export interface Placement {
  readonly key: string
  readonly request: Order.OrderRequest
  readonly requestId: string | undefined
}

/** What a placement is answered. */
export type Answer = Exit.Exit<Receipt<Order.Order>, OrderRefused | KeyReused | OrdersStoreError>

interface KeyedRow extends OrderRow.OrderRow {
  readonly key: string
}

interface Placed {
  readonly placement: Placement
  readonly order: Order.Order
}

const jobOf = ({ order, placement }: Placed): NewJob => {
  const payload: OrderJob = placement.requestId === undefined
    ? { orderId: order.id }
    : { orderId: order.id, requestId: placement.requestId }
  // The payload was made here and fits its schema.
  return Result.getOrThrow(JobQueue.prepare(order.payment === "card" ? Charge : Settle, payload, undefined))
}

interface Written {
  /** The store's time. */
  readonly accepted_at: Date
  /** Orders whose keys were there before. */
  readonly known: ReadonlyArray<string> | null
  /** Products that are not as the prices say; then nothing was written. */
  readonly stale: ReadonlyArray<string> | null
}

/** Orders and jobs, in one statement that is its own transaction. */
const write = (
  sql: PgClient.PgClient,
  placed: ReadonlyArray<Placed>,
  prices: BatchPrices
): Effect.Effect<Written, SqlError> => {
  const orders = placed.map(({ order }) => order)
  const jobs = placed.map(jobOf)
  const products = [...prices.products.values()]
  return Effect.flatMap(
    SqlFunction.call<Written>(sql, "order_accept", {
      ids: Columns.uuids(orders.map((order) => order.id)),
      keys: Columns.texts(placed.map(({ placement }) => placement.key)),
      customers: Columns.texts(orders.map((order) => order.customerId)),
      items: Columns.texts(orders.map(OrderRow.itemsJson)),
      totals: Columns.bigints(orders.map((order) => order.total)),
      currencies: Columns.texts(orders.map((order) => order.currency)),
      payments: Columns.texts(orders.map((order) => order.payment)),
      notes: Columns.texts(orders.map((order) => order.note)),
      queues: Columns.texts(jobs.map((job) => job.queue)),
      kinds: Columns.texts(jobs.map((job) => job.kind)),
      payloads: Columns.texts(jobs.map((job) => job.payload)),
      priorities: Columns.ints(jobs.map((job) => job.priority)),
      attempts: Columns.ints(jobs.map((job) => job.maxAttempts)),
      skus: Columns.texts(products.map((product) => product.sku)),
      prices: Columns.bigints(products.map((product) => product.price)),
      sku_currencies: Columns.texts(products.map((product) => product.currency)),
      sellers: Columns.texts(products.map((product) => product.seller)),
      shipped: Columns.booleans(products.map((product) => product.isShipped))
    }),
    // The function answers one row.
    (rows) => rows[0] === undefined ? Effect.die("sluice.order_accept answered no row") : Effect.succeed(rows[0])
  )
}

/** What time it is there. */
const look = (sql: PgClient.PgClient) =>
  Effect.flatMap(
    sql<Pick<Written, "accepted_at">>`select now() as accepted_at`,
    // A select without from answers one row.
    (rows) => rows[0] === undefined ? Effect.die("now() answered no row") : Effect.succeed(rows[0])
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

/** Prices may change while a batch is on its way: so often it is priced again. */
const pricings = 5

/**
 * Accepts a batch: prices it, writes what is new, and answers each. Keys must be different within a batch. What is refused is answered by
 * itself and writes nothing.
 */
export const flush = (sql: PgClient.PgClient) => {
  const memory = new PriceMemory(sql)
  const storeClock = new StoreClock()

  const ids = (count: number) =>
    Effect.withFiber((fiber) => {
      const millis = storeClock.at(fiber.getRef(Clock.Clock).currentTimeMillisUnsafe())
      return Effect.succeed(Array.from({ length: count }, () => Uuid.nextUnsafe(fiber, millis)))
    })

  /** Every answer with a time in it tells what the store's clock says. */
  const heard = <A extends Pick<Written, "accepted_at">, E, R>(ask: Effect.Effect<A, E, R>) =>
    Effect.gen(function*() {
      const asked = yield* Clock.currentTimeMillis
      const answer = yield* ask
      storeClock.hear(answer.accepted_at, asked, yield* Clock.currentTimeMillis)
      return answer
    })

  const attempt = Effect.fnUntraced(function*(placements: ReadonlyArray<Placement>) {
    if (!storeClock.isKnown) yield* heard(look(sql))
    const prices = yield* memory.pricesFor(placements.map(({ request }) => request))
    const drawn = yield* ids(placements.length)
    const priced = placements.map((placement, index) => ({
      placement,
      // There are as many ids as placements.
      order: Pricing.place(drawn[index] ?? "", placement.request, prices, new Date(0))
    }))
    const placed = priced.flatMap(({ order, placement }) =>
      Result.isSuccess(order) ? [{ placement, order: order.success }] : []
    ).toSorted((a, b) => a.placement.key < b.placement.key ? -1 : 1)
    const { accepted_at, known, stale } = yield* heard(write(sql, placed, prices))
    if (stale !== null) {
      memory.forget(stale)
      return undefined
    }
    const repeated = new Set(known)
    const firsts = yield* replays(
      sql,
      priced.flatMap(({ order, placement }) =>
        Result.isFailure(order) || repeated.has(order.success.id) ? [placement] : []
      )
    )
    return priced.map(({ order, placement }): Answer => {
      const first = firsts.get(placement.key)
      if (first !== undefined) return answerReplay(placement, first)
      if (Result.isFailure(order)) return Exit.fail(order.failure)
      return Exit.succeed({ value: { ...order.success, acceptedAt: accepted_at }, isReplayed: false })
    })
  })

  return Effect.fnUntraced(function*(
    placements: ReadonlyArray<Placement>
  ): Effect.fn.Return<ReadonlyArray<Answer>, OrdersStoreError> {
    for (let round = 0; round < pricings; round++) {
      const answers = yield* Transaction.retryConflicts(StoreFailure.named("Orders.accept")(attempt(placements)))
      if (answers !== undefined) return answers
    }
    return yield* new OrdersStoreError({
      operation: "Orders.accept",
      reason: "Conflict",
      cause: "prices kept changing while the orders were on their way"
    })
  })
}
