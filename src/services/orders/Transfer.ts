/**
 * Transfers between accounts: at once, or in two phases for an effect outside the database (pending, then posted, voided or expired). The
 * rules are pure; the layers only load what a rule needs and write what it answers.
 */
import { Result, Schema } from "effect"
import type { Account } from "./Account.ts"
import { AccountId, canSpend } from "./Account.ts"
import { TransferId } from "./Ids.ts"
import { Amount, Currency, maxBalance, PositiveAmount } from "./Money.ts"
import { TransferRefused } from "./OrdersError.ts"
import { plainText } from "./PlainText.ts"

/** Begins the keys of transfers that belong to an order. The blank keeps them apart: no caller's idempotency key holds one. */
export const chargePrefix = "charge "

/** Where a transfer is. Only a pending one can still change. */
export const TransferState = Schema.Literals(["pending", "posted", "voided", "expired"])

/** Where a transfer is. */
export type TransferState = typeof TransferState.Type

/** What is asked for. */
export const TransferRequest = Schema.Struct({
  /** The account that is debited. */
  from: AccountId,
  /** The account that is credited. */
  to: AccountId,
  amount: PositiveAmount,
  currency: Currency,
  /** Free text for people, at most 200 characters. */
  reference: Schema.optionalKey(plainText(0, 200)),
  /** Two phases: the amount is set aside for so many seconds (at most 30 days), until it is posted or voided. */
  pendingSeconds: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 2_592_000 })))
})

/** What is asked for. */
export type TransferRequest = typeof TransferRequest.Type

/** A transfer as the ledger keeps it. */
export const Transfer = Schema.Struct({
  id: TransferId,
  key: Schema.String,
  from: AccountId,
  to: AccountId,
  amount: PositiveAmount,
  currency: Currency,
  reference: Schema.NullOr(Schema.String),
  state: TransferState,
  /** When a pending transfer can no longer be posted. */
  expiresAt: Schema.NullOr(Schema.DateFromString),
  createdAt: Schema.DateFromString,
  resolvedAt: Schema.NullOr(Schema.DateFromString)
})

/** A transfer as the ledger keeps it. */
export type Transfer = typeof Transfer.Type

/** What made a ledger entry. */
export const EntryKind = Schema.Literals(["transfer", "payment", "refund"])

/** What made a ledger entry. */
export type EntryKind = typeof EntryKind.Type

/** One side of a movement. Entries are never changed or removed; the entries of one source and kind sum to zero. */
export const LedgerEntry = Schema.Struct({
  /** Ascending in the order of writing. */
  id: Amount,
  account: AccountId,
  /** The order or transfer that moved the money. */
  source: TransferId,
  kind: EntryKind,
  /** Negative: the account was debited. */
  amount: Amount,
  at: Schema.DateFromString
})

/** One side of a movement. */
export type LedgerEntry = typeof LedgerEntry.Type

/** What a transfer does to the two accounts. */
export interface Movement {
  readonly from: { readonly balance: bigint; readonly held: bigint }
  readonly to: { readonly balance: bigint }
  /** Whether ledger entries are written. */
  readonly isPosted: boolean
}

const refuse = (reason: TransferRefused["reason"]) => Result.fail(new TransferRefused({ reason }))

const isInRange = (balance: bigint) => balance <= maxBalance && balance >= -maxBalance

/** Whether a transfer may be made now, and what it does to its accounts. */
export const open = (
  request: TransferRequest,
  from: Account,
  to: Account
): Result.Result<Movement, TransferRefused> => {
  if (from.id === to.id) return refuse("SameAccount")
  if (from.currency !== request.currency || to.currency !== request.currency) return refuse("CurrencyMismatch")
  if (!canSpend(from, request.amount)) return refuse("InsufficientFunds")
  if (!isInRange(from.balance - from.held - request.amount) || !isInRange(to.balance + request.amount)) {
    return refuse("BalanceOutOfRange")
  }
  if (request.pendingSeconds !== undefined && !isInRange(from.held + request.amount)) return refuse("BalanceOutOfRange")
  return Result.succeed(
    request.pendingSeconds === undefined
      ? { from: { balance: -request.amount, held: 0n }, to: { balance: request.amount }, isPosted: true }
      : { from: { balance: 0n, held: request.amount }, to: { balance: 0n }, isPosted: false }
  )
}

/** How a pending transfer ends. */
export type Resolution = "post" | "void" | "expire"

/** The state that each resolution leads to. */
export const resolvedState = { post: "posted", void: "voided", expire: "expired" } as const

/**
 * Whether a pending transfer may end so, and what that does to its accounts; undefined when it has already ended so, which is an answer
 * and not a failure (a repeated call must get the answer of the first).
 */
export const resolve = (
  transfer: Transfer,
  resolution: Resolution,
  to: Account,
  now: Date
): Result.Result<Movement | undefined, TransferRefused> => {
  if (transfer.key.startsWith(chargePrefix)) return refuse("BelongsToOrder")
  const target = resolvedState[resolution]
  if (transfer.state === target) return Result.succeed(undefined)
  if (transfer.state === "expired") return refuse("Expired")
  if (transfer.state !== "pending") return refuse("AlreadyResolved")
  const isOver = transfer.expiresAt !== null && transfer.expiresAt.getTime() <= now.getTime()
  if (resolution === "post" && isOver) return refuse("Expired")
  if (resolution === "post" && !isInRange(to.balance + transfer.amount)) return refuse("BalanceOutOfRange")
  return Result.succeed(
    resolution === "post"
      ? {
        from: { balance: -transfer.amount, held: -transfer.amount },
        to: { balance: transfer.amount },
        isPosted: true
      }
      : { from: { balance: 0n, held: -transfer.amount }, to: { balance: 0n }, isPosted: false }
  )
}

/** The request in one fixed spelling: two requests are the same if and only if these texts are. */
export const canonical = (request: TransferRequest): string =>
  JSON.stringify([
    request.from,
    request.to,
    String(request.amount),
    request.currency,
    request.reference ?? null,
    request.pendingSeconds ?? null
  ])

/** The transfer that a request opens. */
export const make = (id: string, key: string, request: TransferRequest, at: Date): Transfer => ({
  id,
  key,
  from: request.from,
  to: request.to,
  amount: request.amount,
  currency: request.currency,
  reference: request.reference ?? null,
  state: request.pendingSeconds === undefined ? "posted" : "pending",
  expiresAt: request.pendingSeconds === undefined ? null : new Date(at.getTime() + request.pendingSeconds * 1000),
  createdAt: at,
  resolvedAt: request.pendingSeconds === undefined ? at : null
})

/** The request that a transfer came from: what a repeated key is compared with. */
export const requestOf = (transfer: Transfer): TransferRequest => ({
  from: transfer.from,
  to: transfer.to,
  amount: transfer.amount,
  currency: transfer.currency,
  ...(transfer.reference === null ? {} : { reference: transfer.reference }),
  ...(transfer.expiresAt === null
    ? {}
    : { pendingSeconds: Math.round((transfer.expiresAt.getTime() - transfer.createdAt.getTime()) / 1000) })
})

/** The transfer as it was when it was opened: what a repeated key is answered with. */
export const asOpened = (transfer: Transfer): Transfer =>
  transfer.expiresAt === null ? transfer : { ...transfer, state: "pending", resolvedAt: null }
