/** Why orders, stock or the ledger did not do what was asked. */
import { Runtime, Schema } from "effect"
import * as SqlFailure from "../postgres/SqlFailure.ts"
import { ExitCode } from "../tasks/ExitCode.ts"
import { isClearing } from "./Account.ts"

/** The store did not do what was asked; `reason` is what a caller branches on (see `SqlFailure.Reason`). */
export class OrdersStoreError extends Schema.TaggedError<OrdersStoreError>()("OrdersStoreError", {
  operation: Schema.String,
  reason: SqlFailure.Reason,
  cause: Schema.Defect()
}) {
  override get message(): string {
    return `the orders' store failed at ${this.operation} (${this.reason})`
  }
  override get [Runtime.errorExitCode](): number {
    return ExitCode.environment
  }
}

/** The idempotency key was used before for another request. */
export class KeyReused extends Schema.TaggedError<KeyReused>()("KeyReused", { key: Schema.String }) {
  override get message(): string {
    return `the idempotency key ${JSON.stringify(this.key)} was used before with another payload`
  }
}

/** The first request with this idempotency key has not been answered yet. */
export class KeyInFlight extends Schema.TaggedError<KeyInFlight>()("KeyInFlight", { key: Schema.String }) {
  override get message(): string {
    return `a request with the idempotency key ${JSON.stringify(this.key)} is still in progress`
  }
}

/** No account has this id. */
export class AccountNotFound extends Schema.TaggedError<AccountNotFound>()("AccountNotFound", { id: Schema.String }) {
  override get message(): string {
    return `there is no account ${JSON.stringify(this.id)}`
  }
}

/**
 * An account with this id is open with another currency or rule, or could not be opened so: the names of clearing accounts are the house's.
 */
export class AccountDiffers extends Schema.TaggedError<AccountDiffers>()("AccountDiffers", { id: Schema.String }) {
  override get message(): string {
    return isClearing(this.id)
      ? `the account ${
        JSON.stringify(this.id)
      } is the house's: it is in the currency of its name and may fall below zero`
      : `the account ${JSON.stringify(this.id)} is open with another currency or rule`
  }
}

/** No transfer has this id. */
export class TransferNotFound
  extends Schema.TaggedError<TransferNotFound>()("TransferNotFound", { id: Schema.String })
{
  override get message(): string {
    return `there is no transfer ${JSON.stringify(this.id)}`
  }
}

/** Why a transfer is refused. */
export const RefusalReason = Schema.Literals([
  "InsufficientFunds",
  "CurrencyMismatch",
  "SameAccount",
  "BalanceOutOfRange",
  "AlreadyResolved",
  "Expired",
  "BelongsToOrder"
])

/** Why a transfer is refused. */
export type RefusalReason = typeof RefusalReason.Type

const refusals: Record<RefusalReason, string> = {
  InsufficientFunds: "the account has not enough to spend",
  CurrencyMismatch: "the accounts and the transfer are not of one currency",
  SameAccount: "both sides are the same account",
  BalanceOutOfRange: "a balance would leave the range that the ledger holds",
  AlreadyResolved: "it has already been resolved the other way",
  Expired: "its time to be posted is over",
  BelongsToOrder: "it belongs to an order, which ends it"
}

/** The ledger's rules refuse the transfer; nothing was written. */
export class TransferRefused extends Schema.TaggedError<TransferRefused>()("TransferRefused", {
  reason: RefusalReason
}) {
  override get message(): string {
    return `the transfer is refused: ${refusals[this.reason]}`
  }
}

/** No order has this id. */
export class OrderNotFound extends Schema.TaggedError<OrderNotFound>()("OrderNotFound", { id: Schema.String }) {
  override get message(): string {
    return `there is no order ${JSON.stringify(this.id)}`
  }
}

/** The order is in a state that does not allow this. */
export class OrderStateConflict extends Schema.TaggedError<OrderStateConflict>()("OrderStateConflict", {
  id: Schema.String,
  status: Schema.String,
  action: Schema.String
}) {
  override get message(): string {
    return `the order is ${this.status}: it cannot ${this.action}`
  }
}

/** The order has changed since the caller read it. */
export class OrderVersionMismatch extends Schema.TaggedError<OrderVersionMismatch>()("OrderVersionMismatch", {
  id: Schema.String,
  expected: Schema.Int,
  actual: Schema.Int
}) {
  override get message(): string {
    return `the order is at version ${this.actual}, not ${this.expected}`
  }
}

/** Why an order is not accepted. */
export const OrderRefusalReason = Schema.Literals([
  "UnknownCustomer",
  "UnknownSku",
  "CurrencyMismatch",
  "BuyerIsSeller",
  "TotalOutOfRange"
])

/** Why an order is not accepted. */
export type OrderRefusalReason = typeof OrderRefusalReason.Type

/** The order cannot be accepted as it is; nothing was written, and its idempotency key is free. */
export class OrderRefused extends Schema.TaggedError<OrderRefused>()("OrderRefused", {
  reason: OrderRefusalReason,
  detail: Schema.String
}) {
  override get message(): string {
    return `the order is refused: ${this.detail}`
  }
}
