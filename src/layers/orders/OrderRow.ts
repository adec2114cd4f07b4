/** An order as a row. */
import type { Order, OrderFailure, OrderLine, OrderStatus } from "../../services/orders/Order.ts"

/** The columns of an order, for a select. */
export const columns = "id, customer_id, status, items, total, currency, payment, note, failure, version, " +
  "accepted_at, charging_at, paid_at, ended_at"

/** What `columns` answers. */
export interface OrderRow {
  readonly id: string
  readonly customer_id: string
  readonly status: OrderStatus
  readonly items: ReadonlyArray<ItemRow>
  readonly total: bigint
  readonly currency: string
  readonly payment: "account" | "card"
  readonly note: string | null
  readonly failure: OrderFailure | null
  readonly version: number
  readonly accepted_at: Date
  readonly charging_at: Date | null
  readonly paid_at: Date | null
  readonly ended_at: Date | null
}

/** An order's line inside the `items` document. */
export interface ItemRow {
  readonly sku: string
  readonly quantity: number
  /** Digits: a JSON number would lose some. */
  readonly unitPrice: string
  readonly seller: string
  readonly isShipped: boolean
}

/** From the row. */
export const toOrder = (row: OrderRow): Order => ({
  id: row.id,
  customerId: row.customer_id,
  status: row.status,
  items: row.items.map((item): OrderLine => ({
    sku: item.sku,
    quantity: item.quantity,
    unitPrice: BigInt(item.unitPrice),
    seller: item.seller,
    isShipped: item.isShipped
  })),
  total: row.total,
  currency: row.currency,
  payment: row.payment,
  note: row.note,
  failure: row.failure,
  version: row.version,
  acceptedAt: row.accepted_at,
  chargingAt: row.charging_at,
  paidAt: row.paid_at,
  endedAt: row.ended_at
})

/** The `items` document. */
export const itemsJson = (order: Order): string =>
  JSON.stringify(order.items.map((item): ItemRow => ({ ...item, unitPrice: String(item.unitPrice) })))
