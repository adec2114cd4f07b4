import { Effect, type Layer, Schema } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import type * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import { ServedApi } from "../../services/http/Api.ts"
import * as Problem from "../../services/http/Problem.ts"
import { Catalog } from "../../services/orders/Catalog.ts"
import { Ledger } from "../../services/orders/Ledger.ts"
import { type NewProduct, Product, Sku, StockAdjustment } from "../../services/orders/Product.ts"
import * as Bodies from "./Bodies.ts"
import * as Page from "./Page.ts"
import { problemOf } from "./ProblemOf.ts"
import { keyOf } from "./RequestHeaders.ts"

const encodeProduct = Schema.encodeSync(Schema.toCodecJson(Product))
const encodeAdjustment = Schema.encodeSync(Schema.toCodecJson(StockAdjustment))

const isSku = Schema.is(Sku)

const unknownSeller = (seller: string) =>
  new Problem.ProductRefused({ reason: "UnknownSeller", detail: `there is no account ${JSON.stringify(seller)}` })

/** Refuses what nobody could buy. Accounts are never closed and keep their currency, so what is looked at here stays so. */
const check = Effect.fnUntraced(function*(ledger: Ledger["Service"], { currency, seller }: NewProduct) {
  const account = yield* ledger.find(seller).pipe(
    Effect.catchTag("AccountNotFound", () => Effect.fail(unknownSeller(seller)))
  )
  return yield* account.currency === currency ? Effect.void : new Problem.ProductRefused({
    reason: "CurrencyMismatch",
    detail: `the account ${JSON.stringify(seller)} is in ${account.currency}, the price in ${currency}`
  })
})

/** The handlers of products and their stock. */
export const layer: Layer.Layer<HttpApiGroup.Service<"sluice", "catalog">, never, Ledger | Catalog> = HttpApiBuilder
  .group(
    ServedApi,
    "catalog",
    Effect.fnUntraced(function*(handlers) {
      const ledger = yield* Ledger
      const catalog = yield* Catalog
      return handlers.handleAll({
        listProducts: Effect.fnUntraced(function*({ query, request }) {
          const after = yield* Effect.fromResult(Page.after(query.cursor, isSku))
          const limit = query.limit ?? 50
          const products = yield* catalog.list({ after, limit })
          const items = products.map((product) => encodeProduct(product))
          return Page.of(request.url, "products", items, Page.lastOf(products, limit, ({ sku }) => sku))
        }, Effect.mapError(problemOf)),
        getProduct: Effect.fnUntraced(function*({ params }) {
          return Bodies.json(encodeProduct(yield* catalog.find(params.sku)))
        }, Effect.mapError(problemOf)),
        putProduct: Effect.fnUntraced(function*({ params, payload }) {
          const product = { sku: params.sku, ...payload, onHand: 0 }
          yield* check(ledger, product)
          const added = yield* catalog.put([product]).pipe(
            Effect.catchTag("AccountNotFound", () => Effect.fail(unknownSeller(product.seller)))
          )
          // It was put there, and products are never removed.
          const found = yield* Effect.catchTag(catalog.find(params.sku), "ProductNotFound", Effect.die)
          return Bodies.json(encodeProduct(found), {
            status: added === 0 ? 200 : 201,
            headers: added === 0 ? {} : { location: `/v1/products/${params.sku}` }
          })
        }, Effect.mapError(problemOf)),
        adjustStock: Effect.fnUntraced(function*({ headers, params, payload }) {
          const key = yield* keyOf(headers["idempotency-key"])
          const receipt = yield* catalog.adjust(key, params.sku, payload.units)
          return Bodies.json(encodeAdjustment(receipt.value), {
            status: 201,
            headers: receipt.isReplayed ? { "idempotent-replayed": "true" } : {}
          })
        }, Effect.mapError(problemOf))
      })
    })
  )
