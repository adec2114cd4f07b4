import type { Effect } from "effect"
import { Context } from "effect"
import type { Order } from "./Order.ts"
import type { OrderNotFound, OrdersStoreError } from "./OrdersError.ts"
import type { ChargeAnswer } from "./PaymentProvider.ts"

/** What workers do to orders. Each member joins the caller's transaction when there is one, so that effect and acknowledgement are one. */
export class OrderProcessor extends Context.Service<OrderProcessor, {
  /**
   * Pays a batch of orders from their customers' accounts: the whole effect (state, ledger, balances, stock, and the jobs that ship) in one
   * transaction. An order that cannot be paid becomes `failed` with its reason and fails nobody else. Repeating it changes nothing. Answers
   * the orders as they are afterwards, unknown ids left out.
   */
  readonly settle: (ids: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<Order>, OrdersStoreError>
  /** Completes a paid order; one that is no longer paid (cancelled meanwhile, or done before) is left alone. */
  readonly ship: (ids: ReadonlyArray<string>) => Effect.Effect<ReadonlyArray<Order>, OrdersStoreError>
  /** Reserves the stock of an order that a card pays, and opens the pending transfer. Repeating it changes nothing. */
  readonly beginCharge: (id: string) => Effect.Effect<Order, OrderNotFound | OrdersStoreError>
  /** Carries out the provider's answer: posts or voids the transfer, and pays or fails the order. Repeating it changes nothing. */
  readonly endCharge: (
    id: string,
    answer: ChargeAnswer
  ) => Effect.Effect<Order, OrderNotFound | OrdersStoreError>
}>()("sluice/services/orders/OrderProcessor") {}
