/**
 * Problem details (RFC 9457) of the API: every error has one of these types. The type is a path of the server itself, where its page says what to do; types
 * are never renamed.
 */
import { Schema } from "effect"
import * as HttpApiError from "effect/http-api/HttpApiError"
import { OrderRefusalReason, RefusalReason } from "../orders/OrdersError.ts"
import { ProductRefusalReason } from "../orders/Product.ts"

/** The request does not fit the schema of its route. */
export class InvalidRequest extends HttpApiError.Problem<InvalidRequest>()("InvalidRequestProblem", {
  type: "/problems/invalid-request",
  status: 400,
  title: "The request does not have the right form"
}, { errors: Schema.optionalKey(Schema.Array(HttpApiError.ProblemIssue)) }) {}

/** The route needs an Idempotency-Key. */
export class IdempotencyKeyMissing
  extends HttpApiError.Problem<IdempotencyKeyMissing>()("IdempotencyKeyMissingProblem", {
    type: "/problems/idempotency-key-missing",
    status: 400,
    title: "This request needs an Idempotency-Key header"
  })
{}

/** No bearer token, or a wrong one. */
export class Unauthorized extends HttpApiError.Problem<Unauthorized>()("UnauthorizedProblem", {
  type: "/problems/unauthorized",
  status: 401,
  title: "A valid bearer token is needed"
}) {}

/** The request comes from where the server takes none. */
export class Forbidden extends HttpApiError.Problem<Forbidden>()("ForbiddenProblem", {
  type: "/problems/forbidden",
  status: 403,
  title: "The server takes no requests from there"
}) {}

/** There is nothing here. */
export class NotFound extends HttpApiError.Problem<NotFound>()("NotFoundProblem", {
  type: "/problems/not-found",
  status: 404,
  title: "There is nothing at this address"
}) {}

/** The address is known, with other methods. */
export class MethodNotAllowed extends HttpApiError.Problem<MethodNotAllowed>()("MethodNotAllowedProblem", {
  type: "/problems/method-not-allowed",
  status: 405,
  title: "This address does not take that method"
}) {}

/** No order has this id. */
export class OrderNotFound extends HttpApiError.Problem<OrderNotFound>()("OrderNotFoundProblem", {
  type: "/problems/order-not-found",
  status: 404,
  title: "There is no such order"
}) {}

/** No account has this id. */
export class AccountNotFound extends HttpApiError.Problem<AccountNotFound>()("AccountNotFoundProblem", {
  type: "/problems/account-not-found",
  status: 404,
  title: "There is no such account"
}) {}

/** The account is open with another currency or rule. */
export class AccountDiffers extends HttpApiError.Problem<AccountDiffers>()("AccountDiffersProblem", {
  type: "/problems/account-differs",
  status: 409,
  title: "The account is open in another way"
}) {}

/** No product has this sku. */
export class ProductNotFound extends HttpApiError.Problem<ProductNotFound>()("ProductNotFoundProblem", {
  type: "/problems/product-not-found",
  status: 404,
  title: "There is no such product"
}) {}

/** The product cannot be sold as it is described. */
export class ProductRefused extends HttpApiError.Problem<ProductRefused>()("ProductRefusedProblem", {
  type: "/problems/product-refused",
  status: 422,
  title: "The product cannot be sold like this"
}, { reason: ProductRefusalReason }) {}

/** The stock cannot change by so much. */
export class StockRefused extends HttpApiError.Problem<StockRefused>()("StockRefusedProblem", {
  type: "/problems/stock-refused",
  status: 422,
  title: "The stock cannot change by so much"
}, { onHand: Schema.Int }) {}

/** No transfer has this id. */
export class TransferNotFound extends HttpApiError.Problem<TransferNotFound>()("TransferNotFoundProblem", {
  type: "/problems/transfer-not-found",
  status: 404,
  title: "There is no such transfer"
}) {}

/** No job has this id. */
export class JobNotFound extends HttpApiError.Problem<JobNotFound>()("JobNotFoundProblem", {
  type: "/problems/job-not-found",
  status: 404,
  title: "There is no such job"
}) {}

/** No fetch run has this name. */
export class FetchNotFound extends HttpApiError.Problem<FetchNotFound>()("FetchNotFoundProblem", {
  type: "/problems/fetch-not-found",
  status: 404,
  title: "There is no such fetch run"
}) {}

/** The type of {@link IdempotencyKeyInFlight}: the one conflict that ends by itself. */
export const keyInFlightType = "/problems/idempotency-key-in-flight"

/** The first request with this key is not answered yet. */
export class IdempotencyKeyInFlight
  extends HttpApiError.Problem<IdempotencyKeyInFlight>()("IdempotencyKeyInFlightProblem", {
    type: keyInFlightType,
    status: 409,
    title: "A request with this Idempotency-Key is still in progress"
  })
{}

/** The key was used before for another payload. */
export class IdempotencyKeyReused extends HttpApiError.Problem<IdempotencyKeyReused>()("IdempotencyKeyReusedProblem", {
  type: "/problems/idempotency-key-reused",
  status: 422,
  title: "This Idempotency-Key was used before with another payload"
}) {}

/** The order's status does not allow it. */
export class OrderStateConflict extends HttpApiError.Problem<OrderStateConflict>()("OrderStateConflictProblem", {
  type: "/problems/order-state-conflict",
  status: 409,
  title: "The order's status does not allow this"
}, { orderStatus: Schema.String }) {}

/** If-Match names another version. */
export class VersionMismatch extends HttpApiError.Problem<VersionMismatch>()("VersionMismatchProblem", {
  type: "/problems/version-mismatch",
  status: 412,
  title: "It has changed since you read it"
}) {}

/** The order cannot be accepted as it is. */
export class OrderRefused extends HttpApiError.Problem<OrderRefused>()("OrderRefusedProblem", {
  type: "/problems/order-refused",
  status: 422,
  title: "The order cannot be accepted"
}, { reason: OrderRefusalReason }) {}

/** The ledger's rules refuse the transfer. */
export class TransferRefused extends HttpApiError.Problem<TransferRefused>()("TransferRefusedProblem", {
  type: "/problems/transfer-refused",
  status: 422,
  title: "The ledger refuses this transfer"
}, { reason: RefusalReason }) {}

/** The body is larger than the server takes. */
export class PayloadTooLarge extends HttpApiError.Problem<PayloadTooLarge>()("PayloadTooLargeProblem", {
  type: "/problems/payload-too-large",
  status: 413,
  title: "The body is too large"
}) {}

/** The body is not JSON. */
export class UnsupportedMediaType extends HttpApiError.Problem<UnsupportedMediaType>()("UnsupportedMediaTypeProblem", {
  type: "/problems/unsupported-media-type",
  status: 415,
  title: "The body must be application/json"
}) {}

/** The request's deadline passed. */
export class DeadlineExceeded extends HttpApiError.Problem<DeadlineExceeded>()("DeadlineExceededProblem", {
  type: "/problems/deadline-exceeded",
  status: 504,
  title: "The request took longer than it may"
}) {}

/** The database does not answer, or too many requests wait for it. */
export class Unavailable extends HttpApiError.Problem<Unavailable>()("UnavailableProblem", {
  type: "/problems/unavailable",
  status: 503,
  title: "Not available now; try again"
}) {}

/** Something broke that should not. */
export class Internal extends HttpApiError.Problem<Internal>()("InternalProblem", {
  type: "/problems/internal",
  status: 500,
  title: "Something went wrong on our side"
}) {}

/** What a problem's page says. */
export interface ProblemDoc {
  readonly type: string
  readonly status: number
  readonly title: string
  readonly what: string
}

const doc = (type: string, status: number, title: string, what: string): ProblemDoc => ({ type, status, title, what })

/** What to do about each problem, for people. */
export const docs: ReadonlyArray<ProblemDoc> = [
  doc(
    "/problems/invalid-request",
    400,
    "The request does not have the right form",
    "Path, query, headers or body do not fit the route's schema; `errors` says where. Correct the request."
  ),
  doc(
    "/problems/idempotency-key-missing",
    400,
    "This request needs an Idempotency-Key header",
    "Send an Idempotency-Key of 1 to 255 printable characters that is new for each thing you want done, and the same for each try."
  ),
  doc(
    "/problems/unauthorized",
    401,
    "A valid bearer token is needed",
    "Send `Authorization: Bearer` with the token that the server was started with (SLUICE_API_TOKEN)."
  ),
  doc(
    "/problems/forbidden",
    403,
    "The server takes no requests from there",
    "Without SLUICE_API_TOKEN only programs of the server's own machine are answered: name it localhost, 127.0.0.1 or [::1], and do not ask from a page of another site."
  ),
  doc(
    "/problems/not-found",
    404,
    "There is nothing at this address",
    "The API's addresses are listed in /docs; they are compared letter by letter."
  ),
  doc(
    "/problems/method-not-allowed",
    405,
    "This address does not take that method",
    "The Allow header lists the methods it takes."
  ),
  doc("/problems/order-not-found", 404, "There is no such order", "No order has this id."),
  doc(
    "/problems/account-not-found",
    404,
    "There is no such account",
    "No account has this id; for a transfer, one of its two accounts."
  ),
  doc(
    "/problems/account-differs",
    409,
    "The account is open in another way",
    "An account keeps the currency and the rule with which it was opened, and names that begin with `card-clearing.` are the house's. Open another one."
  ),
  doc("/problems/product-not-found", 404, "There is no such product", "No product has this sku."),
  doc(
    "/problems/product-refused",
    422,
    "The product cannot be sold like this",
    "`reason` is UnknownSeller (open the seller's account first) or CurrencyMismatch (the price is not in the seller's currency). Nothing was written."
  ),
  doc(
    "/problems/stock-refused",
    422,
    "The stock cannot change by so much",
    "`onHand` is what can be sold now; it can become neither less than nothing nor, with what is reserved, more than 2,000,000,000. Nothing was written and the key is free."
  ),
  doc("/problems/transfer-not-found", 404, "There is no such transfer", "No transfer has this id."),
  doc(
    "/problems/job-not-found",
    404,
    "There is no such job",
    "No job has this id; history that is not kept leaves none behind."
  ),
  doc("/problems/fetch-not-found", 404, "There is no such fetch run", "No fetch run has this name."),
  doc(
    "/problems/idempotency-key-in-flight",
    409,
    "A request with this Idempotency-Key is still in progress",
    "The first request with this key has not been answered yet. Wait for Retry-After and send the same request again."
  ),
  doc(
    "/problems/idempotency-key-reused",
    422,
    "This Idempotency-Key was used before with another payload",
    "A key belongs to one request for ever. Use a new key for another request."
  ),
  doc(
    "/problems/order-state-conflict",
    409,
    "The order's status does not allow this",
    "`orderStatus` is where the order is. An order can be cancelled while it is accepted or paid."
  ),
  doc(
    "/problems/version-mismatch",
    412,
    "It has changed since you read it",
    "If-Match names a version that is not the current one. Read it again, then decide."
  ),
  doc(
    "/problems/order-refused",
    422,
    "The order cannot be accepted",
    "`reason` is UnknownCustomer, UnknownSku, CurrencyMismatch, BuyerIsSeller or TotalOutOfRange. Nothing was written and the key is free."
  ),
  doc(
    "/problems/transfer-refused",
    422,
    "The ledger refuses this transfer",
    "`reason` is InsufficientFunds, CurrencyMismatch, SameAccount, BalanceOutOfRange, AlreadyResolved, Expired or BelongsToOrder. Nothing was written."
  ),
  doc(
    "/problems/payload-too-large",
    413,
    "The body is too large",
    "The server takes bodies up to its limit, 64 KiB by default."
  ),
  doc(
    "/problems/unsupported-media-type",
    415,
    "The body must be application/json",
    "Send `Content-Type: application/json`."
  ),
  doc(
    "/problems/internal",
    500,
    "Something went wrong on our side",
    "The request id in X-Request-Id is in the server's log. The same request with the same key may be sent again."
  ),
  doc(
    "/problems/unavailable",
    503,
    "Not available now; try again",
    "The database is not reachable or is busy. Whether a write was made is unknown: send the same request with the same key after Retry-After."
  ),
  doc(
    "/problems/deadline-exceeded",
    504,
    "The request took longer than it may",
    "It was cancelled, in the database too. A write with an Idempotency-Key may be sent again with the same key."
  )
]
