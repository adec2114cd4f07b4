/**
 * What accepting remembers of accounts and products, so that a batch of orders needs no look at them first. Accounts
 * keep their currency for ever; what is remembered of a product is checked by the statement that writes, and forgotten
 * when it is not so any more.
 */
import type * as PgClient from "@effect/sql-pg/PgClient"
import { Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { OrderRequest } from "../../services/orders/Order.ts"
import type { Prices } from "../../services/orders/Pricing.ts"
import type { Product } from "../../services/orders/Product.ts"
import { BoundedMap } from "../../services/tasks/BoundedMap.ts"
import * as Columns from "../postgres/Columns.ts"

/** What an order's price depends on. */
export type PricedProduct = Pick<Product, "sku" | "price" | "currency" | "seller" | "isShipped">

/** What one batch is priced with. */
export interface BatchPrices extends Prices {
  readonly products: ReadonlyMap<string, PricedProduct>
}

/** Accounts and products that are remembered at most, each. */
const capacity = 100_000

/** Takes from the memory what it has; answers what it lacks. */
const recall = <V>(memory: BoundedMap<string, V>, keys: ReadonlySet<string>, found: Map<string, V>) => {
  const missing: Array<string> = []
  for (const key of keys) {
    const value = memory.get(key)
    if (value === undefined) missing.push(key)
    else found.set(key, value)
  }
  return missing
}

/** A memory over this client. */
export class PriceMemory {
  private readonly sql: PgClient.PgClient
  private readonly currencies = new BoundedMap<string, string>(capacity)
  private readonly products = new BoundedMap<string, PricedProduct>(capacity)

  constructor(sql: PgClient.PgClient) {
    this.sql = sql
  }

  /** Everything that these requests are priced with; unknown accounts and products are looked up, every time. */
  pricesFor(requests: ReadonlyArray<OrderRequest>): Effect.Effect<BatchPrices, SqlError> {
    const customers = new Set<string>()
    const skus = new Set<string>()
    for (const request of requests) {
      customers.add(request.customerId)
      for (const item of request.items) skus.add(item.sku)
    }
    const currencies = new Map<string, string>()
    const products = new Map<string, PricedProduct>()
    const newCustomers = recall(this.currencies, customers, currencies)
    const newSkus = recall(this.products, skus, products)
    const prices: BatchPrices = {
      currencyOf: (account) => currencies.get(account),
      product: (sku) => products.get(sku),
      products
    }
    return Effect.as(
      Effect.all([
        newCustomers.length === 0 ? Effect.void : this.loadCurrencies(newCustomers, currencies),
        newSkus.length === 0 ? Effect.void : this.loadProducts(newSkus, products)
      ], { concurrency: 2 }),
      prices
    )
  }

  /** These products have changed. */
  forget(skus: ReadonlyArray<string>): void {
    for (const sku of skus) this.products.delete(sku)
  }

  private loadCurrencies(ids: ReadonlyArray<string>, found: Map<string, string>): Effect.Effect<void, SqlError> {
    return Effect.map(
      this.sql<{ readonly id: string; readonly currency: string }>`
        select id, currency from sluice.accounts where id = any(${Columns.texts(ids)})`,
      (rows) => {
        for (const { currency, id } of rows) {
          found.set(id, currency)
          this.currencies.set(id, currency)
        }
      }
    )
  }

  private loadProducts(skus: ReadonlyArray<string>, found: Map<string, PricedProduct>): Effect.Effect<void, SqlError> {
    return Effect.map(
      this.sql<PricedProduct>`
        select sku, price, currency, seller, is_shipped as "isShipped" from sluice.products
        where sku = any(${Columns.texts(skus)})`,
      (rows) => {
        for (const product of rows) {
          found.set(product.sku, product)
          this.products.set(product.sku, product)
        }
      }
    )
  }
}
