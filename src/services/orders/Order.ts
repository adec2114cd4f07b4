/**
 * An order and its life. The state machine is drawn in docs/orders.md:
 *
 * accepted -> paid -> completed; accepted -> completed when nothing has to be shipped; accepted -> charging -> paid (or completed) when a
 * card pays; accepted or charging -> failed with a reason; accepted or paid -> cancelled, which gives back money and stock.
 */
import { Schema } from "effect"
import { AccountId } from "./Account.ts"
import { OrderId } from "./Ids.ts"
import { Currency, PositiveAmount } from "./Money.ts"
import { plainText } from "./PlainText.ts"
import { Sku } from "./Product.ts"

/** Where an order is. */
export const OrderStatus = Schema.Literals(["accepted", "charging", "paid", "completed", "failed", "cancelled"])

/** Where an order is. */
export type OrderStatus = typeof OrderStatus.Type

/** Why an order failed. */
export const OrderFailure = Schema.Literals([
  "InsufficientFunds",
  "OutOfStock",
  "UnknownSku",
  "UnknownCustomer",
  "CurrencyMismatch",
  "BalanceOutOfRange",
  "PaymentDeclined"
])

/** Why an order failed. */
export type OrderFailure = typeof OrderFailure.Type

/** What pays: the customer's account in the ledger, or a card at the payment provider. */
export const PaymentMethod = Schema.Literals(["account", "card"])

/** So many of a product. */
export const OrderItem = Schema.Struct({
  sku: Sku,
  quantity: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 10_000 }))
})

/** So many of a product, as it was sold when the order was accepted: later changes of the catalog do not reach it. */
export const OrderLine = Schema.Struct({
  ...OrderItem.fields,
  unitPrice: PositiveAmount,
  seller: AccountId,
  isShipped: Schema.Boolean
})

/** So many of a product, as it was sold when the order was accepted. */
export type OrderLine = typeof OrderLine.Type

const eachOnce = Schema.makeFilter<ReadonlyArray<{ readonly sku: string }>>((items) =>
  new Set(items.map((item) => item.sku)).size === items.length ? undefined : "each sku at most once"
)

/** What a customer asks for. */
export const OrderRequest = Schema.Struct({
  /** The customer's account. */
  customerId: AccountId,
  /** 1 to 100 products, each once. */
  items: Schema.Array(OrderItem).check(Schema.isMinLength(1), Schema.isMaxLength(100), eachOnce),
  /** @default "account" */
  payment: Schema.optionalKey(PaymentMethod),
  /** Free text for people, at most 200 characters. */
  note: Schema.optionalKey(plainText(0, 200))
})

/** What a customer asks for. */
export type OrderRequest = typeof OrderRequest.Type

/** An order as it is now. */
export const Order = Schema.Struct({
  id: OrderId,
  customerId: AccountId,
  status: OrderStatus,
  items: Schema.Array(OrderLine),
  total: PositiveAmount,
  currency: Currency,
  payment: PaymentMethod,
  note: Schema.NullOr(Schema.String),
  /** Why it failed. */
  failure: Schema.NullOr(OrderFailure),
  /** 1 when accepted, one more with each change; the order's ETag. */
  version: Schema.Int,
  acceptedAt: Schema.DateFromString,
  chargingAt: Schema.NullOr(Schema.DateFromString),
  paidAt: Schema.NullOr(Schema.DateFromString),
  endedAt: Schema.NullOr(Schema.DateFromString)
})

/** An order as it is now. */
export type Order = typeof Order.Type

/** What can happen to an order. */
export type OrderAction = "charge" | "pay" | "settle" | "complete" | "fail" | "cancel"

const machine: Record<OrderStatus, Partial<Record<OrderAction, OrderStatus>>> = {
  accepted: { charge: "charging", pay: "paid", settle: "completed", fail: "failed", cancel: "cancelled" },
  charging: { pay: "paid", settle: "completed", fail: "failed" },
  paid: { complete: "completed", cancel: "cancelled" },
  completed: {},
  failed: {},
  cancelled: {}
}

/** The status that an action leads to; undefined when the order's status does not allow it. */
export const next = (status: OrderStatus, action: OrderAction): OrderStatus | undefined => machine[status][action]

/** Whether nothing more can happen to it. */
export const isTerminal = (status: OrderStatus): boolean => Object.keys(machine[status]).length === 0

/**
 * The order after an action at this time; undefined when its status does not allow the action. Its times tell its whole past, which is why
 * no table of events is needed.
 */
export const apply = (
  order: Order,
  action: OrderAction,
  at: Date,
  failure: OrderFailure | null = null
): Order | undefined => {
  const status = next(order.status, action)
  if (status === undefined) return undefined
  return {
    ...order,
    status,
    failure,
    version: order.version + 1,
    chargingAt: action === "charge" ? at : order.chargingAt,
    paidAt: action === "pay" || action === "settle" ? at : order.paidAt,
    endedAt: isTerminal(status) ? at : order.endedAt
  }
}

/** One step in an order's life; its `version` is the id of the server-sent event. */
export const OrderEvent = Schema.Struct({
  orderId: OrderId,
  version: Schema.Int,
  status: OrderStatus,
  at: Schema.DateFromString,
  failure: Schema.NullOr(OrderFailure)
})

/** One step in an order's life. */
export type OrderEvent = typeof OrderEvent.Type

/** What has happened to an order after a version, oldest first. */
export const eventsAfter = (order: Order, version: number): ReadonlyArray<OrderEvent> => {
  const all: ReadonlyArray<readonly [OrderStatus, Date | null]> = [
    ["accepted", order.acceptedAt],
    ["charging", order.chargingAt],
    ["paid", order.paidAt],
    [order.status, order.endedAt]
  ]
  const times = all.filter(([, at]) => at !== null)
  // Paid and completed in one step is one event: nobody could have seen the order in between.
  const steps = times.length > order.version ? times.filter(([status]) => status !== "paid") : times
  return steps.map(([status, at], index): OrderEvent => ({
    orderId: order.id,
    version: index + 1,
    status,
    at: at ?? order.acceptedAt,
    failure: status === "failed" ? order.failure : null
  })).slice(Math.max(0, version))
}

/** The request in one fixed spelling: two requests are the same if and only if these texts are. */
export const canonical = (request: OrderRequest): string =>
  JSON.stringify([
    request.customerId,
    request.items.map((item) => [item.sku, item.quantity]),
    request.payment ?? "account",
    request.note ?? null
  ])
