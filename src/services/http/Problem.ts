/**
 * The problems that the API answers (RFC 9457). A problem is declared once: its class, its page in the documents and the headers of its
 * answer come from that. The type is a path of the server itself, where its page says what to do; types are never renamed.
 */
import { Schema } from "effect"
import {
  Problem,
  type ProblemDeclaration,
  type ProblemExtensionFields,
  ProblemIssue
} from "effect/http-api/HttpApiError"
import { OrderRefusalReason, RefusalReason } from "../orders/OrdersError.ts"
import { ProductRefusalReason } from "../orders/Product.ts"

/** What a problem's page says. */
export interface ProblemDoc {
  readonly type: string
  readonly status: number
  readonly title: string
  /** What it means and what to do about it, for people; back quotes mark code. */
  readonly what: string
  /** Set on every answer with this problem. */
  readonly headers?: Readonly<Record<string, string>>
}

const byType = new Map<string, ProblemDoc>()

/** Declares a problem: its class, which says what the answer is with further fields of its own, and its page. */
const problem = <Self>() =>
<
  const Tag extends string,
  const Type extends `/problems/${string}`,
  const Status extends number,
  const Fields extends ProblemExtensionFields = {}
>(
  tag: Tag,
  declaration: ProblemDoc & ProblemDeclaration<Type, Status>,
  fields?: Fields
) => {
  byType.set(declaration.type, declaration)
  return Problem<Self>()(tag, declaration, fields)
}

/** The same request may succeed soon: in so many seconds (RFC 9110 section 10.2.3). */
const soon = { "retry-after": "1" }

export class InvalidRequest extends problem<InvalidRequest>()("InvalidRequestProblem", {
  type: "/problems/invalid-request",
  status: 400,
  title: "The request does not have the right form",
  what: "Path, query, headers or body do not fit the route's schema; `errors` says where. Correct the request."
}, { errors: Schema.optionalKey(Schema.Array(ProblemIssue)) }) {}

export class IdempotencyKeyMissing extends problem<IdempotencyKeyMissing>()("IdempotencyKeyMissingProblem", {
  type: "/problems/idempotency-key-missing",
  status: 400,
  title: "This request needs an Idempotency-Key header",
  what:
    "Send an Idempotency-Key of 1 to 255 printable characters that is new for each thing you want done, and the same for each try."
}) {}

export class Unauthorized extends problem<Unauthorized>()("UnauthorizedProblem", {
  type: "/problems/unauthorized",
  status: 401,
  title: "A valid bearer token is needed",
  headers: { "www-authenticate": "Bearer" },
  what: "Send `Authorization: Bearer` with the token that the server was started with (SLUICE_API_TOKEN)."
}) {}

export class Forbidden extends problem<Forbidden>()("ForbiddenProblem", {
  type: "/problems/forbidden",
  status: 403,
  title: "The server takes no requests from there",
  what:
    "Without SLUICE_API_TOKEN only programs of the server's own machine are answered: name it localhost, 127.0.0.1 or [::1], and do not ask from a page of another site."
}) {}

export class NotFound extends problem<NotFound>()("NotFoundProblem", {
  type: "/problems/not-found",
  status: 404,
  title: "There is nothing at this address",
  what: "The API's addresses are listed in /docs; they are compared letter by letter."
}) {}

export class MethodNotAllowed extends problem<MethodNotAllowed>()("MethodNotAllowedProblem", {
  type: "/problems/method-not-allowed",
  status: 405,
  title: "This address does not take that method",
  what: "The Allow header lists the methods it takes."
}) {}

export class OrderNotFound extends problem<OrderNotFound>()("OrderNotFoundProblem", {
  type: "/problems/order-not-found",
  status: 404,
  title: "There is no such order",
  what: "No order has this id."
}) {}

export class AccountNotFound extends problem<AccountNotFound>()("AccountNotFoundProblem", {
  type: "/problems/account-not-found",
  status: 404,
  title: "There is no such account",
  what: "No account has this id; for a transfer, one of its two accounts."
}) {}

export class AccountDiffers extends problem<AccountDiffers>()("AccountDiffersProblem", {
  type: "/problems/account-differs",
  status: 409,
  title: "The account is open in another way",
  what:
    "An account keeps the currency and the rule with which it was opened, and names that begin with `card-clearing.` are the house's. Open another one."
}) {}

export class ProductNotFound extends problem<ProductNotFound>()("ProductNotFoundProblem", {
  type: "/problems/product-not-found",
  status: 404,
  title: "There is no such product",
  what: "No product has this sku."
}) {}

export class ProductRefused extends problem<ProductRefused>()("ProductRefusedProblem", {
  type: "/problems/product-refused",
  status: 422,
  title: "The product cannot be sold like this",
  what:
    "`reason` is UnknownSeller (open the seller's account first) or CurrencyMismatch (the price is not in the seller's currency). Nothing was written."
}, { reason: ProductRefusalReason }) {}

export class StockRefused extends problem<StockRefused>()("StockRefusedProblem", {
  type: "/problems/stock-refused",
  status: 422,
  title: "The stock cannot change by so much",
  what:
    "`onHand` is what can be sold now; it can become neither less than nothing nor, with what is reserved, more than 2,000,000,000. Nothing was written and the key is free."
}, { onHand: Schema.Int }) {}

export class TransferNotFound extends problem<TransferNotFound>()("TransferNotFoundProblem", {
  type: "/problems/transfer-not-found",
  status: 404,
  title: "There is no such transfer",
  what: "No transfer has this id."
}) {}

export class JobNotFound extends problem<JobNotFound>()("JobNotFoundProblem", {
  type: "/problems/job-not-found",
  status: 404,
  title: "There is no such job",
  what: "No job has this id; history that is not kept leaves none behind."
}) {}

export class FetchNotFound extends problem<FetchNotFound>()("FetchNotFoundProblem", {
  type: "/problems/fetch-not-found",
  status: 404,
  title: "There is no such fetch run",
  what: "No fetch run has this name."
}) {}

export class IdempotencyKeyInFlight extends problem<IdempotencyKeyInFlight>()("IdempotencyKeyInFlightProblem", {
  type: "/problems/idempotency-key-in-flight",
  status: 409,
  title: "A request with this Idempotency-Key is still in progress",
  headers: soon,
  what:
    "The first request with this key has not been answered yet. Wait for Retry-After and send the same request again."
}) {}

export class IdempotencyKeyReused extends problem<IdempotencyKeyReused>()("IdempotencyKeyReusedProblem", {
  type: "/problems/idempotency-key-reused",
  status: 422,
  title: "This Idempotency-Key was used before with another payload",
  what: "A key belongs to one request for ever. Use a new key for another request."
}) {}

export class OrderStateConflict extends problem<OrderStateConflict>()("OrderStateConflictProblem", {
  type: "/problems/order-state-conflict",
  status: 409,
  title: "The order's status does not allow this",
  what: "`orderStatus` is where the order is. An order can be cancelled while it is accepted or paid."
}, { orderStatus: Schema.String }) {}

export class VersionMismatch extends problem<VersionMismatch>()("VersionMismatchProblem", {
  type: "/problems/version-mismatch",
  status: 412,
  title: "It has changed since you read it",
  what: "If-Match names a version that is not the current one. Read it again, then decide."
}) {}

export class OrderRefused extends problem<OrderRefused>()("OrderRefusedProblem", {
  type: "/problems/order-refused",
  status: 422,
  title: "The order cannot be accepted",
  what:
    "`reason` is UnknownCustomer, UnknownSku, CurrencyMismatch, BuyerIsSeller or TotalOutOfRange. Nothing was written and the key is free."
}, { reason: OrderRefusalReason }) {}

export class TransferRefused extends problem<TransferRefused>()("TransferRefusedProblem", {
  type: "/problems/transfer-refused",
  status: 422,
  title: "The ledger refuses this transfer",
  what:
    "`reason` is InsufficientFunds, CurrencyMismatch, SameAccount, BalanceOutOfRange, AlreadyResolved, Expired or BelongsToOrder. Nothing was written."
}, { reason: RefusalReason }) {}

export class PayloadTooLarge extends problem<PayloadTooLarge>()("PayloadTooLargeProblem", {
  type: "/problems/payload-too-large",
  status: 413,
  title: "The body is too large",
  what: "The server takes bodies up to its limit, 64 KiB by default."
}) {}

export class UnsupportedMediaType extends problem<UnsupportedMediaType>()("UnsupportedMediaTypeProblem", {
  type: "/problems/unsupported-media-type",
  status: 415,
  title: "The body must be application/json",
  what: "Send `Content-Type: application/json`."
}) {}

export class UpgradeRefused extends problem<UpgradeRefused>()("UpgradeRefusedProblem", {
  type: "/problems/upgrade-refused",
  status: 426,
  title: "This is no WebSocket handshake",
  headers: { "sec-websocket-version": "13" },
  what:
    "A WebSocket begins with `Connection: Upgrade`, `Upgrade: websocket`, `Sec-WebSocket-Version: 13` and a `Sec-WebSocket-Key` (RFC 6455). Without `Upgrade` the same address answers server-sent events."
}) {}

export class TooManyConnections extends problem<TooManyConnections>()("TooManyConnectionsProblem", {
  type: "/problems/too-many-connections",
  status: 429,
  title: "Too many connections are open",
  headers: { "retry-after": "10" },
  what:
    "Event streams and WebSockets stay open, so there are only so many of them, in all and for each client. Close some, or come back after Retry-After."
}) {}

export class Internal extends problem<Internal>()("InternalProblem", {
  type: "/problems/internal",
  status: 500,
  title: "Something went wrong on our side",
  what: "The request id in X-Request-Id is in the server's log. The same request with the same key may be sent again."
}) {}

export class Unavailable extends problem<Unavailable>()("UnavailableProblem", {
  type: "/problems/unavailable",
  status: 503,
  title: "Not available now; try again",
  headers: soon,
  what:
    "The database is not reachable or is busy. Whether a write was made is unknown: send the same request with the same key after Retry-After."
}) {}

export class DeadlineExceeded extends problem<DeadlineExceeded>()("DeadlineExceededProblem", {
  type: "/problems/deadline-exceeded",
  status: 504,
  title: "The request took longer than it may",
  what: "It was cancelled, in the database too. A write with an Idempotency-Key may be sent again with the same key."
}) {}

/** Every problem, as its page tells it. */
export const docs: ReadonlyArray<ProblemDoc> = [...byType.values()]

/** The headers that an answer with this problem has, besides those of every answer. */
export const headersOf = ({ type }: { readonly type: string }): Readonly<Record<string, string>> =>
  byType.get(type)?.headers ?? {}
