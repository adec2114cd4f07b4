/** `sluice orders seed`: a little shop to try things with. Running it again changes nothing but fills up what was spent and sold. */
import { Effect, Runtime, Schema } from "effect"
import { clearingAccount, type NewAccount } from "../../services/orders/Account.ts"
import { Catalog } from "../../services/orders/Catalog.ts"
import { Ledger } from "../../services/orders/Ledger.ts"
import type { NewProduct } from "../../services/orders/Product.ts"
import * as Uuid from "../../services/postgres/Uuid.ts"
import { ExitCode } from "../../services/tasks/ExitCode.ts"

/** How large the shop is. */
export interface Options {
  readonly customers: number
  readonly products: number
  /** What each customer gets, in cents. */
  readonly funds: bigint
  /** How many of each product there are. */
  readonly stock: number
}

export const currency = "EUR"
/** Where the customers' money comes from. */
export const cash = "cash"
/** The one account that gets the money of every order: as hot as an account can be. */
export const merchant = "merchant"

export const customerId = (index: number): string => `customer-${index}`
export const sku = (index: number): string => `sku-${index}`

const productOf = (index: number, stock: number): NewProduct => ({
  sku: sku(index),
  name: `Product ${index}`,
  price: BigInt(100 + (index * 37) % 900),
  currency,
  seller: merchant,
  // Every fourth is shipped, the others are complete when they are paid.
  isShipped: index % 4 === 0,
  onHand: stock
})

const house: ReadonlyArray<NewAccount> = [
  { id: cash, currency, allowNegative: true },
  clearingAccount(currency),
  { id: merchant, currency, allowNegative: false }
]

/** The database holds something that the shop would have to change: accounts of another currency, say. */
export class SeedRefused extends Schema.TaggedError<SeedRefused>()("SeedRefused", { detail: Schema.String }) {
  override get message(): string {
    return `the shop cannot be opened in this database: ${this.detail}`
  }
  override get [Runtime.errorExitCode](): number {
    return ExitCode.usage
  }
}

/** Opens the accounts, fills them, and puts the products on the shelf. */
export const seed = Effect.fn("orders.seed")(function*(options: Options) {
  const ledger = yield* Ledger
  const catalog = yield* Catalog
  const customers = Array.from({ length: options.customers }, (_, index) => customerId(index + 1))
  yield* ledger.open([...house, ...customers.map((id) => ({ id, currency, allowNegative: false }))])
  const run = yield* Uuid.next
  yield* Effect.forEach(customers, (to) =>
    options.funds > 0n
      ? ledger.transfer(`seed-${run}-${to}`, { from: cash, to, amount: options.funds, currency, reference: "seed" })
      : Effect.void, { concurrency: 8, discard: true })
  const products = Array.from({ length: options.products }, (_, index) => productOf(index + 1, options.stock))
  yield* catalog.put(products)
  yield* Effect.forEach(
    products,
    (product) =>
      Effect.flatMap(catalog.find(product.sku), (known) => catalog.restock(product.sku, options.stock - known.onHand)),
    { concurrency: 8, discard: true }
  )
}, Effect.mapError((error) => error._tag === "OrdersStoreError" ? error : new SeedRefused({ detail: error.message })))
