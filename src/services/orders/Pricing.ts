/** Whether an order can be accepted, and what it costs. */
import { Result } from "effect"
import { isClearing } from "./Account.ts"
import { maxAmount } from "./Money.ts"
import type { Order, OrderLine, OrderRequest } from "./Order.ts"
import { OrderRefused } from "./OrdersError.ts"
import type { Product } from "./Product.ts"

/** What an order is priced with. */
export interface Prices {
  readonly currencyOf: (account: string) => string | undefined
  readonly product: (sku: string) => Pick<Product, "price" | "currency" | "seller" | "isShipped"> | undefined
}

const refuse = (reason: OrderRefused["reason"], detail: string) => Result.fail(new OrderRefused({ reason, detail }))

/**
 * The order as it is accepted, at today's prices; refused when no later step could ever pay it. Funds and stock are looked at when it is
 * paid.
 */
export const place = (
  id: string,
  request: OrderRequest,
  prices: Prices,
  now: Date
): Result.Result<Order, OrderRefused> => {
  const currency = prices.currencyOf(request.customerId)
  if (currency === undefined || isClearing(request.customerId)) {
    return refuse("UnknownCustomer", `there is no customer ${JSON.stringify(request.customerId)}`)
  }
  const items: Array<OrderLine> = []
  let total = 0n
  for (const { quantity, sku } of request.items) {
    const product = prices.product(sku)
    if (product === undefined) return refuse("UnknownSku", `there is no product ${JSON.stringify(sku)}`)
    if (product.currency !== currency) {
      return refuse("CurrencyMismatch", `${sku} is sold in ${product.currency}, the customer pays in ${currency}`)
    }
    if (product.seller === request.customerId) return refuse("BuyerIsSeller", `${sku} is sold by the customer`)
    total += product.price * BigInt(quantity)
    items.push({ sku, quantity, unitPrice: product.price, seller: product.seller, isShipped: product.isShipped })
  }
  if (total > maxAmount) return refuse("TotalOutOfRange", `the total of ${total} is more than ${maxAmount}`)
  return Result.succeed({
    id,
    customerId: request.customerId,
    status: "accepted",
    items,
    total,
    currency,
    payment: request.payment ?? "account",
    note: request.note ?? null,
    failure: null,
    version: 1,
    acceptedAt: now,
    chargingAt: null,
    paidAt: null,
    endedAt: null
  })
}

/** The request that an order came from: what a repeated key is compared with. */
export const requestOf = (order: Order): OrderRequest => ({
  customerId: order.customerId,
  items: order.items.map(({ quantity, sku }) => ({ sku, quantity })),
  payment: order.payment,
  ...(order.note === null ? {} : { note: order.note })
})

/** The order as it was when it was accepted: what a repeated key is answered with. */
export const asAccepted = (order: Order): Order => ({
  ...order,
  status: "accepted",
  failure: null,
  version: 1,
  chargingAt: null,
  paidAt: null,
  endedAt: null
})
