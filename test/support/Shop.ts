/** A little shop for tests: a cash account that money comes from, customers, sellers and products. */
import { Effect } from "effect"
import { Catalog } from "../../src/services/orders/Catalog.ts"
import { Ledger } from "../../src/services/orders/Ledger.ts"
import type { NewProduct } from "../../src/services/orders/Product.ts"

export const product = (sku: string, options: Partial<NewProduct> = {}): NewProduct => ({
  sku,
  name: `Product ${sku}`,
  price: 250n,
  currency: "EUR",
  seller: "merchant",
  isShipped: false,
  onHand: 1000,
  ...options
})

/** Opens cash and merchant, and customers with so much money each. Nothing that the house opens by itself. */
export const open = Effect.fnUntraced(function*(customers: ReadonlyArray<string>, funds: bigint) {
  const ledger = yield* Ledger
  yield* ledger.open([
    { id: "cash", currency: "EUR", allowNegative: true },
    { id: "merchant", currency: "EUR", allowNegative: false },
    ...customers.map((id) => ({ id, currency: "EUR", allowNegative: false }))
  ])
  if (funds === 0n) return
  yield* Effect.forEach(
    customers,
    (id) => ledger.transfer(`fund-${id}`, { from: "cash", to: id, amount: funds, currency: "EUR" }),
    { discard: true }
  )
})

export const stock = Effect.fnUntraced(function*(products: ReadonlyArray<NewProduct>) {
  const catalog = yield* Catalog
  yield* catalog.put(products)
})
