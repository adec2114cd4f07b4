/** The routes of products and their stock. */
import { Schema } from "effect"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import { AdjustmentUnits, NewProduct, Product, Sku, StockAdjustment } from "../orders/Product.ts"
import * as Problem from "./Problem.ts"
import { common, documented, KeyHeader, paging, withBody } from "./Route.ts"

const ProductBody = Product.annotate({ identifier: "Product" })

const ProductPage = Schema.Struct({ products: Schema.Array(ProductBody), next: Schema.optionalKey(Schema.String) })

const list = HttpApiEndpoint.get("listProducts", "/v1/products", {
  query: paging,
  success: HttpApiSchema.WithHeaders(ProductPage.annotate({ identifier: "ProductPage" }), {
    link: Schema.optionalKey(Schema.String)
  }),
  error: common
}).annotateMerge(documented("List products", "By sku, with price and stock.", { 200: "A page of products." }))

const get = HttpApiEndpoint.get("getProduct", "/v1/products/:sku", {
  params: { sku: Sku },
  success: ProductBody,
  error: [...common, Problem.ProductNotFound]
}).annotateMerge(documented("Read a product", "Price and stock.", { 200: "The product." }))

const { isShipped, name, price, currency, seller } = NewProduct.fields

/** A product without its stock, which only adjustments and orders change. */
export const ProductDescription = Schema.Struct({ name, price, currency, seller, isShipped })

const put = HttpApiEndpoint.put("putProduct", "/v1/products/:sku", {
  params: { sku: Sku },
  payload: ProductDescription.annotate({ identifier: "ProductRequest" }),
  success: [
    HttpApiSchema.WithHeaders(ProductBody.pipe(HttpApiSchema.status(201)), { location: Schema.String }),
    ProductBody
  ],
  error: [...withBody, Problem.ProductRefused]
}).annotateMerge(
  documented(
    "Add or change a product",
    "A new one (201) has no stock yet; of a known one (200) all but the stock is replaced. " +
      "Orders keep prices and sellers as they were when they were accepted.",
    {
      200: "The product was known and is as it was sent, but for its stock.",
      201: "The product is new, without stock."
    }
  )
)

const stock = HttpApiEndpoint.post("adjustStock", "/v1/products/:sku/stock", {
  params: { sku: Sku },
  headers: { "idempotency-key": KeyHeader },
  payload: Schema.Struct({ units: AdjustmentUnits }).annotate({ identifier: "StockRequest" }),
  success: HttpApiSchema.WithHeaders(
    StockAdjustment.annotate({ identifier: "StockAdjustment" }).pipe(HttpApiSchema.status(201)),
    { "idempotent-replayed": Schema.optionalKey(Schema.String) }
  ),
  error: [
    ...withBody,
    Problem.IdempotencyKeyMissing,
    Problem.IdempotencyKeyReused,
    Problem.ProductNotFound,
    Problem.StockRefused
  ]
}).annotateMerge(
  documented(
    "Adjust a product's stock",
    "By `units` more, or less when negative: deliveries, breakage, a count that found another number.",
    { 201: "The adjustment, and what can be sold after it." }
  )
)

/** Products and their stock. */
export const group = HttpApiGroup.make("catalog").add(list, get, put, stock).annotateMerge(
  OpenApi.annotations({ description: "What is sold, and how much of it there is." })
)
