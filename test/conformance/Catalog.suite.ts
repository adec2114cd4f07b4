/** What every catalog does about stock, whatever it is kept in. */
import { assert, layer as withLayer } from "@effect/vitest"
import { Effect, type Layer } from "effect"
import { Catalog } from "../../src/services/orders/Catalog.ts"
import type { Ledger } from "../../src/services/orders/Ledger.ts"
import { maxStock } from "../../src/services/orders/Product.ts"
import * as Shop from "../support/Shop.ts"

const onHand = (sku: string) =>
  Effect.flatMap(Catalog, (catalog) => Effect.map(catalog.find(sku), (product) => product.onHand))

export const suite = <E>(name: string, layer: Layer.Layer<Catalog | Ledger, E>) =>
  withLayer(layer, { excludeTestServices: true })(`Catalog: ${name}`, (it) => {
    it.effect("says how many products were new, and leaves the stock of a known one alone", () =>
      Effect.gen(function*() {
        yield* Shop.open([], 0n)
        const catalog = yield* Catalog
        const a = Shop.product("put-a", { onHand: 7 })
        assert.strictEqual(yield* catalog.put([a]), 1)
        assert.strictEqual(yield* catalog.put([{ ...a, name: "A", onHand: 99 }, Shop.product("put-b")]), 1)
        assert.deepInclude(yield* catalog.find("put-a"), { name: "A", onHand: 7 })
        assert.strictEqual(yield* catalog.put([a]), 0)
        const unknown = yield* Effect.flip(catalog.put([Shop.product("put-c", { seller: "nobody" })]))
        assert.strictEqual(unknown._tag, "AccountNotFound")
      }))

    it.effect("an adjustment counts once by its key, and never beyond what there can be", () =>
      Effect.gen(function*() {
        yield* Shop.open([], 0n)
        yield* Shop.stock([Shop.product("adj", { onHand: 10 }), Shop.product("adj-2", { onHand: 10 })])
        const catalog = yield* Catalog
        const first = yield* catalog.adjust("adj-1", "adj", -4)
        assert.deepInclude(first.value, { sku: "adj", units: -4, onHand: 6 })
        yield* catalog.adjust("adj-more", "adj", 100)
        // The first answer again, as it was then.
        assert.deepStrictEqual(yield* catalog.adjust("adj-1", "adj", -4), { value: first.value, isReplayed: true })
        assert.strictEqual(yield* onHand("adj"), 106)
        assert.strictEqual((yield* Effect.flip(catalog.adjust("adj-1", "adj", 4)))._tag, "KeyReused")
        assert.strictEqual((yield* Effect.flip(catalog.adjust("adj-1", "adj-2", -4)))._tag, "KeyReused")
        assert.strictEqual((yield* Effect.flip(catalog.adjust("adj-3", "nothing", 1)))._tag, "ProductNotFound")
        for (const units of [-107, maxStock - 105]) {
          assert.strictEqual((yield* Effect.flip(catalog.adjust("adj-4", "adj", units)))._tag, "StockRefused")
        }
        // What was refused has left its key free.
        assert.isFalse((yield* catalog.adjust("adj-4", "adj", -106)).isReplayed)
        assert.strictEqual(yield* onHand("adj"), 0)
      }))

    it.effect("of the same adjustments at once, each counts once", () =>
      Effect.gen(function*() {
        yield* Shop.open([], 0n)
        yield* Shop.stock([Shop.product("many", { onHand: 0 })])
        const catalog = yield* Catalog
        const receipts = yield* Effect.forEach(
          Array.from({ length: 90 }, (_, index) => index % 30),
          (n) => catalog.adjust(`many-${n}`, "many", n + 1),
          { concurrency: 30 }
        )
        assert.strictEqual(receipts.filter(({ isReplayed }) => !isReplayed).length, 30)
        assert.strictEqual(yield* onHand("many"), 30 * 31 / 2)
        // One key for two products: one of them has it.
        yield* Shop.stock([Shop.product("left", { onHand: 0 }), Shop.product("right", { onHand: 0 })])
        const exits = yield* Effect.forEach(
          ["left", "right"],
          (sku) => Effect.exit(catalog.adjust("either", sku, 5)),
          { concurrency: 2 }
        )
        assert.strictEqual(exits.filter((exit) => exit._tag === "Success").length, 1)
        assert.strictEqual((yield* onHand("left")) + (yield* onHand("right")), 5)
      }))
  })
