/** The handlers of accounts, transfers and products. */
import { Effect, type Layer, Schema } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import type * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { ServedApi } from "../../services/http/Api.ts"
import * as Cursor from "../../services/http/Cursor.ts"
import { Account } from "../../services/orders/Account.ts"
import { Catalog } from "../../services/orders/Catalog.ts"
import { Ledger } from "../../services/orders/Ledger.ts"
import { Product, Sku } from "../../services/orders/Product.ts"
import { LedgerEntry, Transfer } from "../../services/orders/Transfer.ts"
import * as Bodies from "./Bodies.ts"
import { afterCursor } from "./OrderHandlers.ts"
import { keyOf } from "./OrderPlacing.ts"
import { problemOf } from "./Problems.ts"

const encodeAccount = Schema.encodeSync(Schema.toCodecJson(Account))
const encodeTransfer = Schema.encodeSync(Schema.toCodecJson(Transfer))
const encodeEntry = Schema.encodeSync(Schema.toCodecJson(LedgerEntry))
const encodeProduct = Schema.encodeSync(Schema.toCodecJson(Product))

const isEntryId = (id: string) => /^\d{1,18}$/.test(id)
const isSku = Schema.is(Sku)

/** A page and the way to the next one. */
const page = (url: string, name: string, items: ReadonlyArray<unknown>, limit: number, lastId: string | undefined) => {
  const next = items.length < limit || lastId === undefined ? undefined : Cursor.encode(lastId)
  return Bodies.json({ [name]: items, ...(next === undefined ? {} : { next }) }, {
    headers: next === undefined ? {} : { link: Bodies.nextLink(url, next) }
  })
}

/** Accounts, transfers and products. */
export const layer: Layer.Layer<HttpApiGroup.Service<"sluice", "ledger">, never, Ledger | Catalog> = HttpApiBuilder
  .group(
    ServedApi,
    "ledger",
    Effect.fnUntraced(function*(handlers) {
      const ledger = yield* Ledger
      const catalog = yield* Catalog
      return handlers.handleAll({
        getAccount: Effect.fnUntraced(function*({ headers, params }) {
          const account = yield* ledger.find(params.id)
          const etag = Bodies.etag(account.version)
          const known = headers["if-none-match"]
          return known !== undefined && Bodies.names(known, account.version)
            ? HttpServerResponse.empty({ status: 304, headers: { etag } })
            : Bodies.json(encodeAccount(account), { headers: { etag } })
        }, Effect.mapError(problemOf)),
        listEntries: Effect.fnUntraced(function*({ params, query, request }) {
          const before = yield* Effect.fromResult(afterCursor(query.cursor, isEntryId))
          const limit = query.limit ?? 50
          yield* ledger.find(params.id)
          const entries = yield* ledger.entries(params.id, {
            limit,
            before: before === undefined ? undefined : BigInt(before)
          })
          return page(
            request.url,
            "entries",
            entries.map((entry) => encodeEntry(entry)),
            limit,
            entries.at(-1)?.id.toString()
          )
        }, Effect.mapError(problemOf)),
        makeTransfer: Effect.fnUntraced(function*({ headers, payload }) {
          const key = yield* keyOf(headers["idempotency-key"])
          const receipt = yield* ledger.transfer(key, payload)
          return Bodies.json(encodeTransfer(receipt.value), {
            status: 201,
            headers: receipt.isReplayed ? { "idempotent-replayed": "true" } : {}
          })
        }, Effect.mapError(problemOf)),
        postTransfer: Effect.fnUntraced(function*({ params }) {
          return yield* ledger.resolve(params.id, "post")
        }, Effect.mapError(problemOf)),
        voidTransfer: Effect.fnUntraced(function*({ params }) {
          return yield* ledger.resolve(params.id, "void")
        }, Effect.mapError(problemOf)),
        listProducts: Effect.fnUntraced(function*({ query, request }) {
          const after = yield* Effect.fromResult(afterCursor(query.cursor, isSku))
          const limit = query.limit ?? 50
          const products = yield* catalog.list({ after, limit })
          return page(
            request.url,
            "products",
            products.map((product) => encodeProduct(product)),
            limit,
            products.at(-1)?.sku
          )
        }, Effect.mapError(problemOf))
      })
    })
  )
