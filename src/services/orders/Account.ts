/** Accounts of the ledger: customers, sellers, and the house's own. */
import { Schema } from "effect"
import { Amount, Currency } from "./Money.ts"

/** Chosen by whoever opens the account: 1 to 64 letters, digits, `.`, `_`, `:`, `-`, the first a letter or digit. */
export const AccountId = Schema.String.check(
  Schema.isPattern(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$/u, {
    expected: "1 to 64 letters, digits, \".\", \"_\", \":\" or \"-\"",
    description: "1 to 64 letters, digits, `.`, `_`, `:` or `-`, the first a letter or digit."
  })
)

/** An account to open. */
export const NewAccount = Schema.Struct({
  id: AccountId,
  currency: Currency,
  /** Whether the balance may fall below zero: for the house's own accounts (cash in, card clearing). */
  allowNegative: Schema.Boolean
})

/** An account to open. */
export type NewAccount = typeof NewAccount.Type

const clearingPrefix = "card-clearing."

/** The account that stands for the money which the card provider owes us; it may be negative. */
export const cardClearing = (currency: string): string => `${clearingPrefix}${currency}`

/** Whether the name is one of the house's own: such an account neither buys nor sells. */
export const isClearing = (id: string): boolean => id.startsWith(clearingPrefix)

/** The clearing account of a currency, as it is opened by the first order that a card pays. */
export const clearingAccount = (currency: string): NewAccount => ({
  id: cardClearing(currency),
  currency,
  allowNegative: true
})

/** Whether an account may be opened so: the house's names stand for its own accounts only. */
export const isOpenable = ({ allowNegative, currency, id }: NewAccount): boolean =>
  !isClearing(id) || id === cardClearing(currency) && allowNegative

/** An account as the ledger knows it. */
export const Account = Schema.Struct({
  id: AccountId,
  currency: Currency,
  /** The sum of the account's ledger entries. */
  balance: Amount,
  /** What pending transfers have set aside; it cannot be spent. */
  held: Amount,
  allowNegative: Schema.Boolean,
  /** Grows with each movement; the account's ETag. */
  version: Schema.Int,
  createdAt: Schema.DateFromString
})

/** An account as the ledger knows it. */
export type Account = typeof Account.Type

/** What can be spent: the balance less what is held. */
export const available = (account: Pick<Account, "balance" | "held">): bigint => account.balance - account.held

/** Whether this much may leave the account now. */
export const canSpend = (
  account: Pick<Account, "balance" | "held" | "allowNegative">,
  amount: bigint
): boolean => account.allowNegative || account.balance - account.held >= amount
