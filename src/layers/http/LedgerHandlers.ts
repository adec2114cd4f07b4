import { Effect, type Layer, Schema } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import type * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { ServedApi } from "../../services/http/Api.ts"
import { Account } from "../../services/orders/Account.ts"
import { Ledger } from "../../services/orders/Ledger.ts"
import { LedgerEntry, Transfer } from "../../services/orders/Transfer.ts"
import * as Bodies from "./Bodies.ts"
import * as Page from "./Page.ts"
import { problemOf } from "./ProblemOf.ts"
import { keyOf } from "./RequestHeaders.ts"

const encodeAccount = Schema.encodeSync(Schema.toCodecJson(Account))
const encodeTransfer = Schema.encodeSync(Schema.toCodecJson(Transfer))
const encodeEntry = Schema.encodeSync(Schema.toCodecJson(LedgerEntry))

const isEntryId = (id: string) => /^\d{1,18}$/.test(id)

/** The handlers of accounts and transfers. */
export const layer: Layer.Layer<HttpApiGroup.Service<"sluice", "ledger">, never, Ledger> = HttpApiBuilder
  .group(
    ServedApi,
    "ledger",
    Effect.fnUntraced(function*(handlers) {
      const ledger = yield* Ledger
      return handlers.handleAll({
        openAccount: Effect.fnUntraced(function*({ params, payload }) {
          const { allowNegative = false, currency } = payload
          const opened = yield* ledger.open([{ id: params.id, currency, allowNegative }])
          // It is open, and accounts are never closed.
          const account = yield* Effect.catchTag(ledger.find(params.id), "AccountNotFound", Effect.die)
          const etag = Bodies.etag(account.version)
          return Bodies.json(encodeAccount(account), {
            status: opened === 0 ? 200 : 201,
            headers: opened === 0 ? { etag } : { etag, location: `/v1/accounts/${params.id}` }
          })
        }, Effect.mapError(problemOf)),
        getAccount: Effect.fnUntraced(function*({ headers, params }) {
          const account = yield* ledger.find(params.id)
          const etag = Bodies.etag(account.version)
          const known = headers["if-none-match"]
          return known !== undefined && Bodies.hasVersion(known, account.version)
            ? HttpServerResponse.empty({ status: 304, headers: { etag } })
            : Bodies.json(encodeAccount(account), { headers: { etag } })
        }, Effect.mapError(problemOf)),
        listEntries: Effect.fnUntraced(function*({ params, query, request }) {
          const before = yield* Effect.fromResult(Page.after(query.cursor, isEntryId))
          const limit = query.limit ?? 50
          yield* ledger.find(params.id)
          const entries = yield* ledger.entries(params.id, {
            limit,
            before: before === undefined ? undefined : BigInt(before)
          })
          return Page.of(
            request.url,
            "entries",
            entries.map((entry) => encodeEntry(entry)),
            Page.lastOf(entries, limit, ({ id }) => String(id))
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
        }, Effect.mapError(problemOf))
      })
    })
  )
