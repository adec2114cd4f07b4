/** Products and their stock. */
import type { Effect } from "effect"
import { Context, Schema } from "effect"
import type { Receipt } from "./Ledger.ts"
import type { AccountNotFound, KeyReused, OrdersStoreError } from "./OrdersError.ts"
import type { NewProduct, Product, StockAdjustment, StockRefused } from "./Product.ts"

/** No product has this sku. */
export class ProductNotFound extends Schema.TaggedError<ProductNotFound>()("ProductNotFound", { sku: Schema.String }) {
  override get message(): string {
    return `there is no product ${JSON.stringify(this.sku)}`
  }
}

/** What is sold and how much of it there is. */
export class Catalog extends Context.Service<Catalog, {
  /**
   * Adds products, and says how many were new; of one that is known, name, price, seller and shipping are replaced, its stock is left
   * alone.
   */
  readonly put: (products: ReadonlyArray<NewProduct>) => Effect.Effect<number, AccountNotFound | OrdersStoreError>
  readonly find: (sku: string) => Effect.Effect<Product, ProductNotFound | OrdersStoreError>
  /** Products by sku, after one. At most 1000. */
  readonly list: (
    page?: { readonly after?: string | undefined; readonly limit?: number | undefined }
  ) => Effect.Effect<ReadonlyArray<Product>, OrdersStoreError>
  /** Adds units that can be sold. */
  readonly restock: (sku: string, units: number) => Effect.Effect<Product, ProductNotFound | OrdersStoreError>
  /** Adds units that can be sold, or takes some away; the same key with the same request gets the first answer again. */
  readonly adjust: (
    key: string,
    sku: string,
    units: number
  ) => Effect.Effect<Receipt<StockAdjustment>, ProductNotFound | StockRefused | KeyReused | OrdersStoreError>
}>()("sluice/services/orders/Catalog") {}
