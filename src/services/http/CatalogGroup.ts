/** The routes of products and their stock. */
import { Schema } from "effect"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import { AdjustmentUnits, NewProduct, Product, Sku, StockAdjustment } from "../orders/Product.ts"
import { common, CursorText, KeyHeader, Limit } from "./OrdersGroup.ts"
import * as Problem from "./Problem.ts"

const ProductBody = Product.annotate({ identifier: "Product" })

const ProductPage = Schema.Struct({ products: Schema.Array(ProductBody), next: Schema.optionalKey(Schema.String) })

const list = HttpApiEndpoint.get("listProducts", "/v1/products", {
  query: { limit: Schema.optionalKey(Limit), cursor: Schema.optionalKey(CursorText) },
  success: HttpApiSchema.WithHeaders(ProductPage.annotate({ identifier: "ProductPage" }), {
    link: Schema.optionalKey(Schema.String)
  }),
  error: common
}).annotateMerge(OpenApi.annotations({ summary: "List products", description: "By sku, with price and stock." }))

const get = HttpApiEndpoint.get("getProduct", "/v1/products/:sku", {
  params: { sku: Sku },
  success: ProductBody,
  error: [...common, Problem.ProductNotFound]
}).annotateMerge(OpenApi.annotations({ summary: "Read a product", description: "Price and stock." }))

const { isShipped, name, price, currency, seller } = NewProduct.fields

/** A product without its stock, which only adjustments and orders change. */
export const ProductDescription = Schema.Struct({ name, price, currency, seller, isShipped })

const put = HttpApiEndpoint.put("putProduct", "/v1/products/:sku", {
  params: { sku: Sku },
  payload: ProductDescription,
  success: [
    HttpApiSchema.WithHeaders(ProductBody.pipe(HttpApiSchema.status(201)), { location: Schema.String }),
    ProductBody
  ],
  error: [...common, Problem.ProductRefused, Problem.PayloadTooLarge, Problem.UnsupportedMediaType]
}).annotateMerge(OpenApi.annotations({
  summary: "Add or change a product",
  description:
    "A new one (201) has no stock yet; of a known one (200) all but the stock is replaced. Orders keep prices and sellers as they were when they were accepted."
}))

const stock = HttpApiEndpoint.post("adjustStock", "/v1/products/:sku/stock", {
  params: { sku: Sku },
  headers: { "idempotency-key": KeyHeader },
  payload: Schema.Struct({ units: AdjustmentUnits }),
  success: HttpApiSchema.WithHeaders(
    StockAdjustment.annotate({ identifier: "StockAdjustment" }).pipe(HttpApiSchema.status(201)),
    { "idempotent-replayed": Schema.optionalKey(Schema.String) }
  ),
  error: [
    ...common,
    Problem.IdempotencyKeyMissing,
    Problem.IdempotencyKeyReused,
    Problem.ProductNotFound,
    Problem.StockRefused,
    Problem.PayloadTooLarge,
    Problem.UnsupportedMediaType
  ]
}).annotateMerge(OpenApi.annotations({
  summary: "Adjust a product's stock",
  description: "By `units` more, or less when negative: deliveries, breakage, a count that found another number."
}))

/** Products and their stock. */
export const group = HttpApiGroup.make("catalog").add(list, get, put, stock).annotateMerge(
  OpenApi.annotations({ description: "What is sold, and how much of it there is." })
)
