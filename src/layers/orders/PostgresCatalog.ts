import * as PgClient from "@effect/sql-pg/PgClient"
import { Effect, Layer } from "effect"
import { isClearing } from "../../services/orders/Account.ts"
import { Catalog, ProductNotFound } from "../../services/orders/Catalog.ts"
import { AccountNotFound, KeyReused } from "../../services/orders/OrdersError.ts"
import { adjusted, maxStock, type Product, type StockAdjustment } from "../../services/orders/Product.ts"
import * as Columns from "../postgres/Columns.ts"
import * as Database from "../postgres/Database.ts"
import type { DatabaseError } from "../postgres/DatabaseError.ts"
import * as RequestLane from "./RequestLane.ts"
import * as StoreFailure from "./StoreFailure.ts"

interface ProductRow {
  readonly sku: string
  readonly name: string
  readonly price: bigint
  readonly currency: string
  readonly seller: string
  readonly is_shipped: boolean
  readonly on_hand: number
  readonly reserved: number
  readonly sold: bigint
}

const toProduct = (row: ProductRow): Product => ({
  sku: row.sku,
  name: row.name,
  price: row.price,
  currency: row.currency,
  seller: row.seller,
  isShipped: row.is_shipped,
  onHand: row.on_hand,
  reserved: row.reserved,
  sold: Number(row.sold)
})

interface AdjustmentRow {
  readonly sku: string
  readonly units: number
  readonly on_hand: number
  readonly at: Date
}

const toAdjustment = (row: AdjustmentRow): StockAdjustment => ({
  sku: row.sku,
  units: row.units,
  onHand: row.on_hand,
  at: row.at
})

const adjust = Effect.fnUntraced(function*(sql: PgClient.PgClient, key: string, sku: string, units: number) {
  const replay = Effect.gen(function*() {
    const known = yield* sql<AdjustmentRow>`
      select sku, units, on_hand, at from sluice.stock_adjustments where key = ${key}`
    if (known[0] === undefined) return undefined
    return known[0].sku === sku && known[0].units === units
      ? { value: toAdjustment(known[0]), isReplayed: true }
      : yield* new KeyReused({ key })
  })
  const rows = yield* sql<Pick<ProductRow, "on_hand" | "reserved">>`
    select on_hand, reserved from sluice.products where sku = ${sku} for no key update`
  // Only now: a first request with this key holds the same lock until it has committed.
  const first = yield* replay
  if (first !== undefined) return first
  if (rows[0] === undefined) return yield* new ProductNotFound({ sku })
  const onHand = yield* Effect.fromResult(adjusted({ sku, onHand: rows[0].on_hand, reserved: rows[0].reserved }, units))
  const inserted = yield* sql<AdjustmentRow>`
    insert into sluice.stock_adjustments (key, sku, units, on_hand) values (${key}, ${sku}, ${units}, ${onHand})
    on conflict (key) do nothing returning sku, units, on_hand, at`
  // For another product this key was committed after we had looked.
  if (inserted[0] === undefined) return (yield* replay) ?? (yield* new KeyReused({ key }))
  yield* sql`update sluice.products set on_hand = ${onHand} where sku = ${sku}`
  return { value: toAdjustment(inserted[0]), isReplayed: false }
})

const make = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  const reads = yield* Database.ReadClient
  const transact = yield* RequestLane.make(sql, "the catalog's lane")

  const put: Catalog["Service"]["put"] = Effect.fn("Catalog.put")(function*(products) {
    const sellers = [...new Set(products.map((product) => product.seller))]
    const open = yield* sql<{ readonly id: string }>`
      select id from sluice.accounts where id = any(${Columns.texts(sellers)})`
    const known = new Set(open.map((row) => row.id))
    const missing = sellers.find((seller) => !known.has(seller) || isClearing(seller))
    if (missing !== undefined) return yield* new AccountNotFound({ id: missing })
    const rows = yield* sql<{ readonly is_new: boolean }>`
      insert into sluice.products (sku, name, price, currency, seller, is_shipped, on_hand)
      select * from unnest(${Columns.texts(products.map((product) => product.sku))}, ${
      Columns.texts(products.map((product) => product.name))
    }, ${Columns.bigints(products.map((product) => product.price))}, ${
      Columns.texts(products.map((product) => product.currency))
    }, ${Columns.texts(products.map((product) => product.seller))}, ${
      Columns.booleans(products.map((product) => product.isShipped))
    }, ${Columns.ints(products.map((product) => product.onHand))}) order by 1
      on conflict (sku) do update set name = excluded.name, price = excluded.price, currency = excluded.currency,
        seller = excluded.seller, is_shipped = excluded.is_shipped
      returning xmax = 0 as is_new`
    // A row that was there before has the lock of this update in xmax.
    return rows.filter((row) => row.is_new).length
  }, transact("Catalog.put"))

  return Catalog.of({
    put,
    find: Effect.fn("Catalog.find")(function*(sku) {
      const rows = yield* reads<ProductRow>`select * from sluice.products where sku = ${sku}`
      return rows[0] === undefined ? yield* new ProductNotFound({ sku }) : toProduct(rows[0])
    }, StoreFailure.named("Catalog.find")),
    list: (page) =>
      StoreFailure.named("Catalog.list")(Effect.map(
        reads<ProductRow>`select * from sluice.products where sku > ${page?.after ?? ""}
          order by sku limit ${Math.max(1, Math.min(1000, page?.limit ?? 100))}`,
        (rows) => rows.map(toProduct)
      )),
    restock: Effect.fn("Catalog.restock")(function*(sku, units) {
      const rows = yield* sql<ProductRow>`
        update sluice.products set on_hand = least(${maxStock} - reserved, on_hand::bigint + ${
        Math.max(0, units)
      }) where sku = ${sku}
        returning *`
      return rows[0] === undefined ? yield* new ProductNotFound({ sku }) : toProduct(rows[0])
    }, StoreFailure.named("Catalog.restock")),
    adjust: Effect.fn("Catalog.adjust")(function*(key, sku, units) {
      return yield* transact("Catalog.adjust")(adjust(sql, key, sku, units))
    })
  })
})

/** The catalog in Postgres. */
export const layer: Layer.Layer<Catalog, DatabaseError, Database.Services> = Layer.effect(
  Catalog,
  Effect.andThen(Database.tables("orders"), make)
)
