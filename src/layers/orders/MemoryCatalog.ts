import { Effect, Layer, Result } from "effect"
import { isClearing } from "../../services/orders/Account.ts"
import { Catalog, ProductNotFound } from "../../services/orders/Catalog.ts"
import type { Receipt } from "../../services/orders/Ledger.ts"
import { AccountNotFound, KeyReused } from "../../services/orders/OrdersError.ts"
import { adjusted, maxStock, type StockAdjustment, type StockRefused } from "../../services/orders/Product.ts"
import * as MemoryStore from "./MemoryStore.ts"

interface Adjusting {
  readonly key: string
  readonly sku: string
  readonly units: number
  readonly at: Date
}

const adjust = (
  state: MemoryStore.MemoryStore["Service"],
  { at, key, sku, units }: Adjusting
): Result.Result<Receipt<StockAdjustment>, ProductNotFound | StockRefused | KeyReused> => {
  const known = state.adjustments.get(key)
  if (known !== undefined) {
    return known.sku === sku && known.units === units
      ? Result.succeed({ value: known, isReplayed: true })
      : Result.fail(new KeyReused({ key }))
  }
  const product = state.products.get(sku)
  if (product === undefined) return Result.fail(new ProductNotFound({ sku }))
  return Result.map(adjusted(product, units), (onHand) => {
    const value = { sku, units, onHand, at }
    state.products.set(sku, { ...product, onHand })
    state.adjustments.set(key, value)
    return { value, isReplayed: false }
  })
}

const make = Effect.gen(function*() {
  const state = yield* MemoryStore.MemoryStore
  return Catalog.of({
    put: (products) =>
      Effect.suspend(() => {
        for (const product of products) {
          if (!state.accounts.has(product.seller) || isClearing(product.seller)) {
            return Effect.fail(new AccountNotFound({ id: product.seller }))
          }
        }
        const before = state.products.size
        for (const product of products) {
          const known = state.products.get(product.sku)
          const stock = {
            onHand: known?.onHand ?? product.onHand,
            reserved: known?.reserved ?? 0,
            sold: known?.sold ?? 0
          }
          state.products.set(product.sku, { ...product, ...stock })
        }
        return Effect.succeed(state.products.size - before)
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
        const after = { ...product, onHand: Math.min(maxStock - product.reserved, product.onHand + Math.max(0, units)) }
        state.products.set(sku, after)
        return Effect.succeed(after)
      }),
    adjust: (key, sku, units) => MemoryStore.atomically((at) => adjust(state, { key, sku, units, at }))
  })
})

/** The catalog in memory. */
export const layer: Layer.Layer<Catalog, never, MemoryStore.MemoryStore> = Layer.effect(Catalog, make)
