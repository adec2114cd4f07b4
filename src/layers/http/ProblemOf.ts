/** From errors, the domain's and those of reading a request, to the problems of the API. */
import type * as HttpApiError from "effect/http-api/HttpApiError"
import type { HttpServerError } from "effect/http/HttpServerError"
import * as SchemaIssue from "effect/SchemaIssue"
import * as Problem from "../../services/http/Problem.ts"
import type { ProductNotFound } from "../../services/orders/Catalog.ts"
import type * as OrdersError from "../../services/orders/OrdersError.ts"
import type { StockRefused } from "../../services/orders/Product.ts"

/** The store's failures: what a caller may do about them is all that is told. */
export const ofStore = (
  error: OrdersError.OrdersStoreError
): Problem.Unavailable | Problem.DeadlineExceeded | Problem.Internal => {
  if (error.reason === "TimedOut") return new Problem.DeadlineExceeded()
  return error.reason === "Rejected" ? new Problem.Internal() : new Problem.Unavailable()
}

const formatIssues = SchemaIssue.makeFormatterStandardSchemaV1()

/** What a request that does not fit its route's schema is told. */
export const ofSchema = (
  error: HttpApiError.HttpApiSchemaError
): Problem.InvalidRequest | Problem.IdempotencyKeyMissing => {
  const slot = error.kind.toLowerCase()
  const errors = formatIssues(error.cause.issue).issues.slice(0, 50).map((issue) => ({
    path: [
      slot,
      ...(issue.path ?? []).map((segment) => {
        const key = typeof segment === "object" ? segment.key : segment
        return typeof key === "number" ? key : String(key)
      })
    ],
    message: issue.message.slice(0, 500)
  }))
  const isKeyMissing = error.kind === "Headers" && errors.some(({ path }) => path[1] === "idempotency-key")
  return isKeyMissing
    ? new Problem.IdempotencyKeyMissing()
    : new Problem.InvalidRequest({ detail: "Request validation failed", errors })
}

/** What a request is told whose body is too large, or breaks off. */
export const ofBody = ({ reason }: HttpServerError): Problem.PayloadTooLarge | Problem.InvalidRequest =>
  reason._tag === "RequestParseError" && reason.reason === "BodyTooLarge"
    ? new Problem.PayloadTooLarge()
    : new Problem.InvalidRequest({ detail: "the body cannot be read" })

const of = {
  HttpApiSchemaError: ofSchema,
  HttpServerError: ofBody,
  OrdersStoreError: ofStore,
  KeyReused: () => new Problem.IdempotencyKeyReused(),
  KeyInFlight: () => new Problem.IdempotencyKeyInFlight(),
  OrderRefused: (error: OrdersError.OrderRefused) =>
    new Problem.OrderRefused({ reason: error.reason, detail: error.detail }),
  OrderNotFound: () => new Problem.OrderNotFound(),
  OrderStateConflict: (error: OrdersError.OrderStateConflict) =>
    new Problem.OrderStateConflict({ orderStatus: error.status, detail: error.message }),
  OrderVersionMismatch: (error: OrdersError.OrderVersionMismatch) =>
    new Problem.VersionMismatch({ detail: error.message }),
  AccountNotFound: (error: OrdersError.AccountNotFound) => new Problem.AccountNotFound({ detail: error.message }),
  AccountDiffers: (error: OrdersError.AccountDiffers) => new Problem.AccountDiffers({ detail: error.message }),
  ProductNotFound: (error: ProductNotFound) => new Problem.ProductNotFound({ detail: error.message }),
  StockRefused: (error: StockRefused) => new Problem.StockRefused({ onHand: error.onHand, detail: error.message }),
  TransferNotFound: () => new Problem.TransferNotFound(),
  TransferRefused: (error: OrdersError.TransferRefused) =>
    new Problem.TransferRefused({ reason: error.reason, detail: error.message })
} as const

type ProblemOf<E> = E extends { readonly _tag: infer Tag } ?
  Tag extends keyof typeof of ? ReturnType<(typeof of)[Tag]> : E
  : E

const byTag: Record<string, ((error: never) => unknown) | undefined> = of

/** The problem that an error is told as; what is a problem already stays as it is. */
export const problemOf = <E extends { readonly _tag: string }>(error: E): ProblemOf<E> => {
  const make = byTag[error._tag]
  // The table above is the type above: each tag with its function.
  return (make === undefined ? error : make(error as never)) as ProblemOf<E>
}
