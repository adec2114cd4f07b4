/** The routes of accounts, transfers and products. */
import { Schema } from "effect"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import { Account, AccountId } from "../orders/Account.ts"
import { TransferId } from "../orders/Ids.ts"
import { Product } from "../orders/Product.ts"
import { LedgerEntry, Transfer, TransferRequest } from "../orders/Transfer.ts"
import { common, CursorText, Limit } from "./OrdersGroup.ts"
import * as Problem from "./Problem.ts"

const paging = { limit: Schema.optionalKey(Limit), cursor: Schema.optionalKey(CursorText) }
const TransferBody = Transfer.annotate({ identifier: "Transfer" })

const account = HttpApiEndpoint.get("getAccount", "/v1/accounts/:id", {
  params: { id: AccountId },
  headers: { "if-none-match": Schema.optionalKey(Schema.String) },
  success: [
    HttpApiSchema.WithHeaders(Account.annotate({ identifier: "Account" }), { etag: Schema.String }),
    HttpApiSchema.Empty(304)
  ],
  error: [...common, Problem.AccountNotFound]
}).annotateMerge(
  OpenApi.annotations({ summary: "Read an account", description: "Balance and what is held, in minor units." })
)

const EntryPage = Schema.Struct({ entries: Schema.Array(LedgerEntry), next: Schema.optionalKey(Schema.String) })

const entries = HttpApiEndpoint.get("listEntries", "/v1/accounts/:id/entries", {
  params: { id: AccountId },
  query: paging,
  success: HttpApiSchema.WithHeaders(EntryPage.annotate({ identifier: "EntryPage" }), {
    link: Schema.optionalKey(Schema.String)
  }),
  error: [...common, Problem.AccountNotFound]
}).annotateMerge(OpenApi.annotations({ summary: "List an account's ledger entries", description: "The latest first." }))

const transfer = HttpApiEndpoint.post("makeTransfer", "/v1/transfers", {
  headers: { "idempotency-key": Schema.String },
  payload: TransferRequest,
  success: HttpApiSchema.WithHeaders(TransferBody.pipe(HttpApiSchema.status(201)), {
    "idempotent-replayed": Schema.optionalKey(Schema.String)
  }),
  error: [
    ...common,
    Problem.IdempotencyKeyMissing,
    Problem.IdempotencyKeyInFlight,
    Problem.IdempotencyKeyReused,
    Problem.AccountNotFound,
    Problem.TransferRefused,
    Problem.PayloadTooLarge,
    Problem.UnsupportedMediaType
  ]
}).annotateMerge(OpenApi.annotations({
  summary: "Transfer money",
  description:
    "At once, or in two phases with `pendingSeconds`: the amount is set aside until it is posted, voided, or expires."
}))

const resolution = {
  params: { id: TransferId },
  success: TransferBody,
  error: [...common, Problem.TransferNotFound, Problem.TransferRefused]
} as const

const post = HttpApiEndpoint.post("postTransfer", "/v1/transfers/:id/post", resolution).annotateMerge(
  OpenApi.annotations({
    summary: "Post a pending transfer",
    description: "The money moves. Posting again answers the same."
  })
)

const voiding = HttpApiEndpoint.post("voidTransfer", "/v1/transfers/:id/void", resolution).annotateMerge(
  OpenApi.annotations({ summary: "Void a pending transfer", description: "What was set aside is free again." })
)

const ProductPage = Schema.Struct({ products: Schema.Array(Product), next: Schema.optionalKey(Schema.String) })

const products = HttpApiEndpoint.get("listProducts", "/v1/products", {
  query: paging,
  success: HttpApiSchema.WithHeaders(ProductPage.annotate({ identifier: "ProductPage" }), {
    link: Schema.optionalKey(Schema.String)
  }),
  error: common
}).annotateMerge(OpenApi.annotations({ summary: "List products", description: "By sku, with price and stock." }))

/** Accounts, transfers and products. */
export const group = HttpApiGroup.make("ledger").add(account, entries, transfer, post, voiding, products).annotateMerge(
  OpenApi.annotations({ description: "Accounts, transfers between them, and what is sold." })
)
