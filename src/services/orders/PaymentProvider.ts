/**
 * A payment provider: money outside our database, so no transaction can hold it. What makes it safe is its key: the same key never charges
 * twice, and `find` says what became of a charge whose answer was lost.
 */
import type { Effect } from "effect"
import { Context, Schema } from "effect"

/** What the provider says about a charge. */
export const ChargeAnswer = Schema.Literals(["charged", "declined"])

/** What the provider says about a charge. */
export type ChargeAnswer = typeof ChargeAnswer.Type

/** The provider did not answer: whether it charged is unknown, so ask again with the same key. */
export class PaymentUnavailable extends Schema.TaggedError<PaymentUnavailable>()("PaymentUnavailable", {
  key: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return `the payment provider did not answer for ${this.key}: ${this.problem}`
  }
}

/** What is to be charged. */
export interface ChargeRequest {
  /** The order's id: the provider's idempotency key. */
  readonly key: string
  readonly amount: bigint
  readonly currency: string
  readonly customerId: string
}

/** Charges cards. */
export class PaymentProvider extends Context.Service<PaymentProvider, {
  /** Charges a card; the same key again gets the first answer and charges nothing. */
  readonly charge: (request: ChargeRequest) => Effect.Effect<ChargeAnswer, PaymentUnavailable>
  /** What became of a charge; undefined when the provider never saw it. */
  readonly find: (key: string) => Effect.Effect<ChargeAnswer | undefined, PaymentUnavailable>
}>()("sluice/services/orders/PaymentProvider") {}
