/**
 * From whatever a request fails with to the problem that it is told as, and from a problem to its answer: errors of the services, requests
 * that do not fit their route, deadlines, defects.
 */
import { Cause, Effect, SchemaIssue } from "effect"
import * as HttpApiError from "effect/http-api/HttpApiError"
import { HttpServerError } from "effect/http/HttpServerError"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type { FrontierError } from "../../services/fetch/Frontier.ts"
import type { FetchKeysError } from "../../services/http/FetchKeys.ts"
import * as Problem from "../../services/http/Problem.ts"
import type { JobQueueError } from "../../services/jobs/JobError.ts"
import type { ProductNotFound } from "../../services/orders/Catalog.ts"
import type * as OrdersError from "../../services/orders/OrdersError.ts"
import type { StockRefused } from "../../services/orders/Product.ts"
import { DeadlineExceeded } from "../../services/tasks/Deadline.ts"
import * as Addresses from "./Addresses.ts"

type Response = HttpServerResponse.HttpServerResponse

type StoreError = OrdersError.OrdersStoreError | JobQueueError | FetchKeysError | FrontierError

/** A failure of a store: what a caller may do about it is all that is told. */
const ofStore = ({ reason }: StoreError): Problem.Unavailable | Problem.DeadlineExceeded | Problem.Internal => {
  if (reason === "TimedOut") return new Problem.DeadlineExceeded()
  return reason === "Rejected" ? new Problem.Internal() : new Problem.Unavailable()
}

/** What is told of a request whose part at this path is not what it may be. */
export const invalid = (path: ReadonlyArray<string>, message: string): Problem.InvalidRequest =>
  new Problem.InvalidRequest({ detail: "Request validation failed", errors: [{ path, message }] })

const formatIssues = SchemaIssue.makeFormatterStandardSchemaV1()

/** A request that does not fit its route's schema. */
const ofSchema = (error: HttpApiError.HttpApiSchemaError): Problem.InvalidRequest | Problem.IdempotencyKeyMissing => {
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

/** A request whose body is too large, or breaks off. */
const ofBody = ({ reason }: HttpServerError): Problem.PayloadTooLarge | Problem.InvalidRequest =>
  reason._tag === "RequestParseError" && reason.reason === "BodyTooLarge"
    ? new Problem.PayloadTooLarge()
    : new Problem.InvalidRequest({ detail: "the body cannot be read" })

const of = {
  HttpApiSchemaError: ofSchema,
  HttpServerError: ofBody,
  OrdersStoreError: ofStore,
  JobQueueError: ofStore,
  FetchKeysError: ofStore,
  FrontierError: ofStore,
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

/** The answer that tells a problem: its document, with its headers. */
export const answer = (
  problem: HttpServerRespondable.Respondable & { readonly type: string }
): Effect.Effect<Response> =>
  Effect.map(HttpServerRespondable.toResponse(problem), HttpServerResponse.setHeaders(Problem.headersOf(problem)))

/** The answer to a request that no route takes. */
const unrouted = (request: HttpServerRequest): Effect.Effect<Response> => {
  const methods = Addresses.of(request.url)?.methods ?? []
  // An address and method that we have, and the router does not find: its path does not decode.
  return methods.includes(request.method)
    ? answer(new Problem.InvalidRequest({ detail: "the path cannot be read" }))
    : Effect.map(answer(new Problem.MethodNotAllowed()), HttpServerResponse.setHeader("allow", methods.join(", ")))
}

/** The answer to an error of the platform or of the deadline; undefined for any other, which is a fault of ours. */
const ofPlatform = (request: HttpServerRequest, error: unknown): Effect.Effect<Response> | undefined => {
  if (HttpApiError.HttpApiSchemaError.is(error)) {
    return error.kind === "Body" || error.kind === "ResponseHeaders" ? undefined : answer(ofSchema(error))
  }
  if (error instanceof DeadlineExceeded) return answer(new Problem.DeadlineExceeded({ detail: error.message }))
  if (!(error instanceof HttpServerError)) return undefined
  if (error.reason._tag === "RouteNotFound") return unrouted(request)
  return error.reason._tag === "RequestParseError" ? answer(ofBody(error)) : undefined
}

/** The answer to a failed request. Interruption stays what it is: the client has gone. */
export const ofCause = (request: HttpServerRequest, cause: Cause.Cause<unknown>): Effect.Effect<Response> => {
  if (Cause.hasInterruptsOnly(cause)) return Effect.interrupt
  for (const reason of cause.reasons) {
    const error = reason._tag === "Fail" ? reason.error : reason._tag === "Die" ? reason.defect : undefined
    const told = ofPlatform(request, error)
    if (told !== undefined) return told
  }
  return Effect.andThen(
    Effect.logError(`${request.method} ${Addresses.of(request.url)?.route ?? "unknown"} failed`, cause),
    answer(new Problem.Internal())
  )
}

/** The builder answers a body that is not JSON in plain text; all other answers stay as they are. */
export const ofResponse = (response: Response): Effect.Effect<Response> =>
  response.status === 415 && response.headers["content-type"] !== "application/problem+json"
    ? answer(new Problem.UnsupportedMediaType())
    : Effect.succeed(response)
