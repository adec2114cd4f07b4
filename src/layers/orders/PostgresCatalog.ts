/** The catalog in Postgres. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { Effect, Layer } from "effect"
import { Catalog, ProductNotFound } from "../../services/orders/Catalog.ts"
import { AccountNotFound } from "../../services/orders/OrdersError.ts"
import { maxStock, type Product } from "../../services/orders/Product.ts"
import { ReadClient } from "../postgres/Database.ts"
import * as Columns from "./Columns.ts"
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

const make = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  const reads = yield* ReadClient

  const put: Catalog["Service"]["put"] = Effect.fn("Catalog.put")(function*(products) {
    const sellers = [...new Set(products.map((product) => product.seller))]
    const open = yield* sql<{ readonly id: string }>`
      select id from sluice.accounts where id = any(${Columns.texts(sellers)})`
    const known = new Set(open.map((row) => row.id))
    const missing = sellers.find((seller) => !known.has(seller))
    if (missing !== undefined) return yield* new AccountNotFound({ id: missing })
    return yield* Effect.asVoid(sql`
      insert into sluice.products (sku, name, price, currency, seller, is_shipped, on_hand)
      select * from unnest(${Columns.texts(products.map((product) => product.sku))}, ${
      Columns.texts(products.map((product) => product.name))
    }, ${Columns.bigints(products.map((product) => product.price))}, ${
      Columns.texts(products.map((product) => product.currency))
    }, ${Columns.texts(products.map((product) => product.seller))}, ${
      Columns.booleans(products.map((product) => product.isShipped))
    }, ${Columns.ints(products.map((product) => product.onHand))}) order by 1
      on conflict (sku) do update set name = excluded.name, price = excluded.price, currency = excluded.currency,
        seller = excluded.seller, is_shipped = excluded.is_shipped`)
  }, StoreFailure.transact(sql, "Catalog.put"))

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
        update sluice.products set on_hand = least(${maxStock}, on_hand::bigint + ${
        Math.max(0, units)
      }) where sku = ${sku}
        returning *`
      return rows[0] === undefined ? yield* new ProductNotFound({ sku }) : toProduct(rows[0])
    }, StoreFailure.named("Catalog.restock"))
  })
})

/** The catalog in Postgres. */
export const layer: Layer.Layer<Catalog, never, PgClient.PgClient | ReadClient> = Layer.effect(Catalog, make)
