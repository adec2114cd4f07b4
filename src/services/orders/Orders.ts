/** Orders as customers see them: placed once, found fast, followed, cancelled. */
import type { Effect, Stream } from "effect"
import { Context, Schema } from "effect"
import type { Receipt } from "./Ledger.ts"
import type { Order, OrderEvent, OrderRequest, OrderStatus } from "./Order.ts"
import type {
  KeyInFlight,
  KeyReused,
  OrderNotFound,
  OrderRefused,
  OrdersStoreError,
  OrderStateConflict,
  OrderVersionMismatch,
  TransferRefused
} from "./OrdersError.ts"

/** Which orders to list. */
export interface OrderFilter {
  readonly customerId?: string | undefined
  readonly status?: OrderStatus | undefined
  /** Only orders placed before this one: the last of the page before. */
  readonly before?: string | undefined
  /** @default 50, at most 200 */
  readonly limit?: number | undefined
}

/** The most orders on one page. */
export const maxPage = 200

/** A page of a list. */
export interface OrderPage {
  readonly orders: ReadonlyArray<Order>
  /**
   * What the next page is `before`; undefined on the last one. A page of what is rare may be short, or empty, and still have a next one.
   */
  readonly next: string | undefined
}

/** The sums of the orders in one status. */
export const OrderCount = Schema.Struct({ status: Schema.String, orders: Schema.Int })

/** The sums of the orders in one status. */
export type OrderCount = typeof OrderCount.Type

/** Orders: accepted durably, found by id and in pages, followed and cancelled. */
export class Orders extends Context.Service<Orders, {
  /**
   * Accepts an order: when this succeeds, the order and the job that will pay it are on disk. The same key with the same request gets the
   * first answer again (the order as it was when it was accepted). A refused order writes nothing and leaves its key free.
   */
  readonly accept: (
    key: string,
    request: OrderRequest,
    requestId?: string
  ) => Effect.Effect<Receipt<Order>, OrderRefused | KeyReused | KeyInFlight | OrdersStoreError>
  readonly find: (id: string) => Effect.Effect<Order, OrderNotFound | OrdersStoreError>
  /** Orders, the latest first. A page costs no more than a bounded look, however many orders there are. */
  readonly list: (filter: OrderFilter) => Effect.Effect<OrderPage, OrdersStoreError>
  /** Cancels an order that is accepted or paid; money and stock go back in the same transaction. */
  readonly cancel: (
    id: string,
    options?: { readonly ifVersion?: number | undefined }
  ) => Effect.Effect<
    Order,
    OrderNotFound | OrderStateConflict | OrderVersionMismatch | TransferRefused | OrdersStoreError
  >
  /** What happens to an order after a version, as it happens; ends after its last event. */
  readonly events: (
    id: string,
    afterVersion?: number
  ) => Stream.Stream<OrderEvent, OrderNotFound | OrdersStoreError>
  /** How many orders are in each status. Reads the whole table's index: for reports, not for a hot path. */
  readonly count: Effect.Effect<ReadonlyArray<OrderCount>, OrdersStoreError>
}>()("sluice/services/orders/Orders") {}
