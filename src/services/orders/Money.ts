/**
 * Money: whole minor units (cents) as bigint, with a currency. There is no floating point on any path; on the wire an amount is
 * a decimal string, because a JSON number loses cents above 2^53.
 */
import { Schema } from "effect"

/** The largest amount of one movement, in minor units: 999,999,999,999,999. */
export const maxAmount = 999_999_999_999_999n

/** The largest balance of an account, in minor units; a movement past it is refused. Below 2^63, so that Postgres can hold it. */
export const maxBalance = 9_000_000_000_000_000_000n

/** An ISO 4217 currency code in upper case. */
export const Currency = Schema.String.check(
  Schema.isPattern(/^[A-Z]{3}$/u, {
    expected: "three upper case letters, like EUR",
    description: "An ISO 4217 code, like EUR."
  })
)

const signedDigits = Schema.String.check(
  Schema.isPattern(/^(0|-?[1-9]\d{0,18})$/u, {
    expected: "minor units as a decimal string, like \"1250\"",
    description: "Minor units (cents) as a decimal string, like 1250 or -1250."
  })
)
const digits = Schema.String.check(
  Schema.isPattern(/^[1-9]\d{0,14}$/u, {
    expected: "positive minor units as a decimal string, like \"1250\"",
    description: "Minor units (cents) as a decimal string, like 1250."
  })
)

/** Minor units, of any sign: a balance or one side of a ledger entry. A decimal string on the wire. */
export const Amount = signedDigits.pipe(Schema.decodeTo(
  Schema.BigIntFromString.check(Schema.isBetweenBigInt({ minimum: -maxBalance, maximum: maxBalance }))
))

/** Minor units that move: positive, at most {@link maxAmount}. A decimal string on the wire. */
export const PositiveAmount = digits.pipe(Schema.decodeTo(
  Schema.BigIntFromString.check(Schema.isBetweenBigInt({ minimum: 1n, maximum: maxAmount }))
))

/** An amount with its currency. */
export const Money = Schema.Struct({ amount: Amount, currency: Currency })

/** An amount with its currency. */
export type Money = typeof Money.Type

/** Money for people: `12.50 EUR`, `1250 JPY`. Assumes two decimals but for the currencies that have none. */
export const format = (money: Money): string => {
  if (withoutDecimals.has(money.currency)) return `${money.amount} ${money.currency}`
  const sign = money.amount < 0n ? "-" : ""
  const absolute = money.amount < 0n ? -money.amount : money.amount
  return `${sign}${absolute / 100n}.${String(absolute % 100n).padStart(2, "0")} ${money.currency}`
}

const withoutDecimals = new Set(["JPY", "KRW", "VND", "CLP", "ISK", "XAF", "XOF", "UGX", "PYG", "RWF"])
