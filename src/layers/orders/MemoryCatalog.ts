/** The catalog in memory. */
import { Effect, Layer, Result } from "effect"
import { Catalog, ProductNotFound } from "../../services/orders/Catalog.ts"
import { AccountNotFound } from "../../services/orders/OrdersError.ts"
import { maxStock } from "../../services/orders/Product.ts"
import { MemoryBooks } from "./MemoryBooks.ts"

const make = Effect.gen(function*() {
  const state = yield* MemoryBooks
  return Catalog.of({
    put: (products) =>
      Effect.suspend(() => {
        for (const product of products) {
          if (!state.accounts.has(product.seller)) return Effect.fail(new AccountNotFound({ id: product.seller }))
        }
        for (const product of products) {
          const known = state.products.get(product.sku)
          const stock = {
            onHand: known?.onHand ?? product.onHand,
            reserved: known?.reserved ?? 0,
            sold: known?.sold ?? 0
          }
          state.products.set(product.sku, { ...product, ...stock })
        }
        return Effect.void
      }),
    find: (sku) =>
      Effect.suspend(() => {
        const product = state.products.get(sku)
        return product === undefined ? Effect.fail(new ProductNotFound({ sku })) : Effect.succeed(product)
      }),
    list: (page) =>
      Effect.sync(() =>
        [...state.products.values()].filter((product) => page?.after === undefined || product.sku > page.after)
          .sort((a, b) => a.sku < b.sku ? -1 : 1).slice(0, Math.max(1, Math.min(1000, page?.limit ?? 100)))
      ),
    restock: (sku, units) =>
      Effect.suspend(() => {
        const product = state.products.get(sku)
        if (product === undefined) return Effect.fromResult(Result.fail(new ProductNotFound({ sku })))
        const after = { ...product, onHand: Math.min(maxStock, product.onHand + Math.max(0, units)) }
        state.products.set(sku, after)
        return Effect.succeed(after)
      })
  })
})

/** The catalog in memory. */
export const layer: Layer.Layer<Catalog, never, MemoryBooks> = Layer.effect(Catalog, make)
