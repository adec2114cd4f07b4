/**
 * What happens to money and stock when orders are paid, decided for a whole batch at once and without I/O: the caller has loaded and locked
 * every order, account and product that the batch touches, and writes what the plan says. A hot account appears once in the plan however
 * many orders touch it. Orders are decided in the order given, so an order that cannot be paid fails alone and its neighbours see what the
 * earlier ones left.
 */
import { type Account, canSpend, cardClearing } from "./Account.ts"
import { maxBalance } from "./Money.ts"
import { apply, type Order, type OrderFailure } from "./Order.ts"
import type { ChargeAnswer } from "./PaymentProvider.ts"
import type { Product } from "./Product.ts"
import { chargePrefix, type EntryKind, type Transfer } from "./Transfer.ts"

/** An account as the plan needs it. */
export type AccountState = Pick<Account, "id" | "currency" | "balance" | "held" | "allowNegative">

/** A product as the plan needs it. */
export type ProductState = Pick<Product, "sku" | "onHand">

/** A ledger entry to write. */
export interface PlannedEntry {
  readonly source: string
  readonly kind: EntryKind
  readonly account: string
  readonly amount: bigint
}

/** What is added to an account. */
export interface AccountDelta {
  balance: bigint
  held: bigint
}

/** How much of a product moves between its three places. */
export interface StockDelta {
  onHand: number
  reserved: number
  sold: number
}

/** What to write. */
export interface Plan {
  /** Every order of the batch that changes, as it is afterwards. */
  readonly orders: Array<Order>
  /** One sum for each account. */
  readonly accounts: Map<string, AccountDelta>
  readonly stock: Map<string, StockDelta>
  readonly entries: Array<PlannedEntry>
  /** Transfers to insert (pending) or to end, as they are afterwards. */
  readonly transfers: Array<Transfer>
  /** Paid orders that have to be shipped. */
  readonly toShip: Array<string>
}

/** The state that a batch works on. */
export interface Books {
  readonly account: (id: string) => AccountState | undefined
  readonly product: (sku: string) => ProductState | undefined
}

const emptyPlan = (): Plan => ({
  orders: [],
  accounts: new Map(),
  stock: new Map(),
  entries: [],
  transfers: [],
  toShip: []
})

/** The idempotency key of the transfer that waits for a card's answer. */
export const chargeKey = (orderId: string): string => `${chargePrefix}${orderId}`

/**
 * The pending transfer that stands for a card's money until the provider has answered: from the clearing account to the customer. It never
 * expires by itself: only the provider knows whether there was a charge.
 */
export const chargeTransfer = (id: string, order: Order, at: Date): Transfer => ({
  id,
  key: chargeKey(order.id),
  from: cardClearing(order.currency),
  to: order.customerId,
  amount: order.total,
  currency: order.currency,
  reference: null,
  state: "pending",
  expiresAt: null,
  createdAt: at,
  resolvedAt: null
})

/** Every account that an order can touch. */
export const accountsOf = (order: Order): ReadonlyArray<string> => {
  const ids = [order.customerId, ...order.items.map((item) => item.seller)]
  return order.payment === "card" ? [...ids, cardClearing(order.currency)] : ids
}

/** Decides a batch of orders that are paid from their customers' accounts. Orders that are no longer `accepted` are left alone. */
export const settle = (orders: ReadonlyArray<Order>, books: Books, now: Date): Plan => {
  const plan = emptyPlan()
  for (const order of orders) {
    if (order.status !== "accepted") continue
    const failure = fundsRefusal(plan, order, books) ?? stockRefusal(plan, order, books)
    if (failure !== undefined) {
      change(plan, apply(order, "fail", now, failure))
      continue
    }
    moveStock(plan, order, isShipped(order) ? "reserve" : "sell")
    pay(plan, order, now)
  }
  return plan
}

/**
 * The first half of a payment by card: stock is reserved, and a pending transfer stands for the money that the provider has not confirmed.
 * Undefined when the order is no longer `accepted`.
 */
export const charge = (order: Order, books: Books, transfer: Transfer, now: Date): Plan | undefined => {
  if (order.status !== "accepted") return undefined
  const plan = emptyPlan()
  const failure = chargeRefusal(plan, order, books) ?? stockRefusal(plan, order, books)
  if (failure !== undefined) {
    change(plan, apply(order, "fail", now, failure))
    return plan
  }
  moveStock(plan, order, "reserve")
  change(plan, apply(order, "charge", now))
  plan.transfers.push(transfer)
  move(plan, transfer.from, { balance: 0n, held: transfer.amount })
  return plan
}

/**
 * The second half: the provider's answer. Undefined when the order is no longer being charged, for instance because the answer came twice.
 * Should a seller have no room any more for money that the card has paid, the order fails and the money stays on its customer's account.
 */
export const charged = (
  order: Order,
  { answer, transfer }: { readonly answer: ChargeAnswer; readonly transfer: Transfer },
  books: Books,
  now: Date
): Plan | undefined => {
  if (order.status !== "charging") return undefined
  const plan = emptyPlan()
  move(plan, transfer.from, { balance: 0n, held: -transfer.amount })
  plan.transfers.push({ ...transfer, state: answer === "charged" ? "posted" : "voided", resolvedAt: now })
  if (answer === "declined") {
    moveStock(plan, order, "release")
    change(plan, apply(order, "fail", now, "PaymentDeclined"))
    return plan
  }
  post(plan, { source: transfer.id, kind: "transfer", account: transfer.from, amount: -transfer.amount })
  post(plan, { source: transfer.id, kind: "transfer", account: transfer.to, amount: transfer.amount })
  const failure = creditRefusal(plan, order, books)
  if (failure !== undefined) {
    moveStock(plan, order, "release")
    change(plan, apply(order, "fail", now, failure))
    return plan
  }
  if (!isShipped(order)) moveStock(plan, order, "ship")
  pay(plan, order, now)
  return plan
}

/** Completes paid orders: what was reserved has left. Orders that are not `paid` are left alone. */
export const ship = (orders: ReadonlyArray<Order>, now: Date): Plan => {
  const plan = emptyPlan()
  for (const order of orders) {
    if (change(plan, apply(order, "complete", now))) moveStock(plan, order, "ship")
  }
  return plan
}

/**
 * Cancels an order: a paid one gets its money and stock back by new entries. `"InsufficientFunds"` when a seller has already spent the
 * money, `"BalanceOutOfRange"` when its customer has no room for it; undefined when the order's status does not allow it.
 */
export const cancel = (
  order: Order,
  books: Books,
  now: Date
): Plan | "InsufficientFunds" | "BalanceOutOfRange" | undefined => {
  const plan = emptyPlan()
  if (!change(plan, apply(order, "cancel", now))) return undefined
  if (order.status !== "paid") return plan
  moveStock(plan, order, "release")
  movePayment(plan, order, "refund", -1n)
  for (const [id, delta] of plan.accounts) {
    const account = books.account(id)
    const after = (account?.balance ?? 0n) + delta.balance
    const left = after - (account?.held ?? 0n)
    if (left < 0n && delta.balance < 0n && account?.allowNegative !== true) return "InsufficientFunds"
    if (after > maxBalance || left < -maxBalance) return "BalanceOutOfRange"
  }
  return plan
}

const isShipped = (order: Order) => order.items.some((item) => item.isShipped)

/** Writes an order as an action leaves it, if its status allowed the action. */
const change = (plan: Plan, after: Order | undefined): boolean => {
  if (after === undefined) return false
  plan.orders.push(after)
  return true
}

const fundsRefusal = (plan: Plan, order: Order, books: Books): OrderFailure | undefined => {
  const customer = books.account(order.customerId)
  if (customer === undefined) return "UnknownCustomer"
  if (customer.currency !== order.currency) return "CurrencyMismatch"
  const left = customer.balance - customer.held + (plan.accounts.get(customer.id)?.balance ?? 0n) - order.total
  if (left < 0n && !customer.allowNegative) return "InsufficientFunds"
  return left < -maxBalance ? "BalanceOutOfRange" : creditRefusal(plan, order, books)
}

/** Whether the pending transfer of a card can be made, and both ways that its money may go later. */
const chargeRefusal = (plan: Plan, order: Order, books: Books): OrderFailure | undefined => {
  const customer = books.account(order.customerId)
  if (customer === undefined) return "UnknownCustomer"
  const clearing = books.account(cardClearing(order.currency))
  if (clearing?.currency !== order.currency || customer.currency !== order.currency) return "CurrencyMismatch"
  if (!canSpend(clearing, order.total)) return "InsufficientFunds"
  const isOut = clearing.balance - clearing.held - order.total < -maxBalance ||
    clearing.held + order.total > maxBalance || customer.balance + order.total > maxBalance
  return isOut ? "BalanceOutOfRange" : creditRefusal(plan, order, books)
}

/** Whether the sellers can take the money. */
const creditRefusal = (plan: Plan, order: Order, books: Books): OrderFailure | undefined => {
  for (const item of order.items) {
    const seller = books.account(item.seller)
    if (seller === undefined || seller.currency !== order.currency) return "CurrencyMismatch"
    if (seller.balance + (plan.accounts.get(seller.id)?.balance ?? 0n) + order.total > maxBalance) {
      return "BalanceOutOfRange"
    }
  }
  return undefined
}

const stockRefusal = (plan: Plan, order: Order, books: Books): OrderFailure | undefined => {
  for (const item of order.items) {
    const product = books.product(item.sku)
    if (product === undefined) return "UnknownSku"
    if (product.onHand + (plan.stock.get(item.sku)?.onHand ?? 0) < item.quantity) return "OutOfStock"
  }
  return undefined
}

const moves = {
  sell: { onHand: -1, reserved: 0, sold: 1 },
  reserve: { onHand: -1, reserved: 1, sold: 0 },
  release: { onHand: 1, reserved: -1, sold: 0 },
  ship: { onHand: 0, reserved: -1, sold: 1 }
} as const

const moveStock = (plan: Plan, order: Order, kind: keyof typeof moves): void => {
  const factors = moves[kind]
  for (const item of order.items) {
    let delta = plan.stock.get(item.sku)
    if (delta === undefined) plan.stock.set(item.sku, delta = { onHand: 0, reserved: 0, sold: 0 })
    delta.onHand += factors.onHand * item.quantity
    delta.reserved += factors.reserved * item.quantity
    delta.sold += factors.sold * item.quantity
  }
}

/** The order is paid; without anything to ship that also completes it. */
const pay = (plan: Plan, order: Order, now: Date): void => {
  movePayment(plan, order, "payment", 1n)
  change(plan, apply(order, isShipped(order) ? "pay" : "settle", now))
  if (isShipped(order)) plan.toShip.push(order.id)
}

const movePayment = (plan: Plan, order: Order, kind: EntryKind, sign: bigint): void => {
  const credits = new Map<string, bigint>()
  for (const item of order.items) {
    credits.set(item.seller, (credits.get(item.seller) ?? 0n) + item.unitPrice * BigInt(item.quantity))
  }
  post(plan, { source: order.id, kind, account: order.customerId, amount: -order.total * sign })
  for (const [account, amount] of credits) post(plan, { source: order.id, kind, account, amount: amount * sign })
}

const post = (plan: Plan, entry: PlannedEntry): void => {
  plan.entries.push(entry)
  move(plan, entry.account, { balance: entry.amount, held: 0n })
}

const move = (plan: Plan, account: string, by: AccountDelta): void => {
  const delta = plan.accounts.get(account)
  if (delta === undefined) {
    plan.accounts.set(account, by)
    return
  }
  delta.balance += by.balance
  delta.held += by.held
}
