import { Schema } from "effect"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import { Account, AccountId, NewAccount } from "../orders/Account.ts"
import { TransferId } from "../orders/Ids.ts"
import { LedgerEntry, Transfer, TransferRequest } from "../orders/Transfer.ts"
import * as Problem from "./Problem.ts"
import { common, documented, keyed, KeyHeader, paging, withBody } from "./Route.ts"

const TransferBody = Transfer.annotate({ identifier: "Transfer" })

const AccountBody = Account.annotate({ identifier: "Account" })

const { allowNegative, currency } = NewAccount.fields

const open = HttpApiEndpoint.put("openAccount", "/v1/accounts/:id", {
  params: { id: AccountId },
  payload: Schema.Struct({ currency, allowNegative: Schema.optionalKey(allowNegative) }).annotate({
    identifier: "AccountRequest"
  }),
  success: [
    HttpApiSchema.WithHeaders(AccountBody.pipe(HttpApiSchema.status(201)), {
      location: Schema.String,
      etag: Schema.String
    }),
    HttpApiSchema.WithHeaders(AccountBody, { etag: Schema.String })
  ],
  error: [...withBody, Problem.AccountDiffers]
}).annotateMerge(
  documented(
    "Open an account",
    "201 when it is new, 200 when it is open in the same way, 409 when it is open in another currency or with another rule. It is empty: money comes by " +
      "transfers only, and in the end from an account with `allowNegative` (false unless it is said), whose balance says how much was issued.",
    { 200: "The account was open in the same way.", 201: "The account is new, and empty." }
  )
)

const account = HttpApiEndpoint.get("getAccount", "/v1/accounts/:id", {
  params: { id: AccountId },
  headers: { "if-none-match": Schema.optionalKey(Schema.String) },
  success: [
    HttpApiSchema.WithHeaders(AccountBody, { etag: Schema.String }),
    HttpApiSchema.Empty(304)
  ],
  error: [...common, Problem.AccountNotFound]
}).annotateMerge(
  documented("Read an account", "Balance and what is held, in minor units.", {
    200: "The account as it is now.",
    304: "The account is still at the version that If-None-Match names."
  })
)

const EntryPage = Schema.Struct({
  entries: Schema.Array(LedgerEntry.annotate({ identifier: "LedgerEntry" })),
  next: Schema.optionalKey(Schema.String)
})

const entries = HttpApiEndpoint.get("listEntries", "/v1/accounts/:id/entries", {
  params: { id: AccountId },
  query: paging,
  success: HttpApiSchema.WithHeaders(EntryPage.annotate({ identifier: "EntryPage" }), {
    link: Schema.optionalKey(Schema.String)
  }),
  error: [...common, Problem.AccountNotFound]
}).annotateMerge(
  documented("List an account's ledger entries", "The latest first.", { 200: "A page of ledger entries." })
)

const transfer = HttpApiEndpoint.post("makeTransfer", "/v1/transfers", {
  headers: { "idempotency-key": KeyHeader },
  payload: TransferRequest.annotate({ identifier: "TransferRequest" }),
  success: HttpApiSchema.WithHeaders(TransferBody.pipe(HttpApiSchema.status(201)), {
    "idempotent-replayed": Schema.optionalKey(Schema.String)
  }),
  error: [...keyed, Problem.AccountNotFound, Problem.TransferRefused]
}).annotateMerge(
  documented(
    "Transfer money",
    "At once, or in two phases with `pendingSeconds`: the amount is set aside until it is posted, voided, or expires.",
    { 201: "The transfer: posted or, in two phases, pending." }
  )
)

const resolution = {
  params: { id: TransferId },
  success: TransferBody,
  error: [...common, Problem.TransferNotFound, Problem.TransferRefused]
} as const

const post = HttpApiEndpoint.post("postTransfer", "/v1/transfers/:id/post", resolution).annotateMerge(
  documented("Post a pending transfer", "The money moves. Posting again answers the same.", {
    200: "The transfer, posted."
  })
)

const voiding = HttpApiEndpoint.post("voidTransfer", "/v1/transfers/:id/void", resolution).annotateMerge(
  documented("Void a pending transfer", "What was set aside is free again.", { 200: "The transfer, voided." })
)

/** The routes of accounts and transfers. */
export const group = HttpApiGroup.make("ledger").add(open, account, entries, transfer, post, voiding).annotateMerge(
  OpenApi.annotations({ description: "Accounts, and transfers between them." })
)
