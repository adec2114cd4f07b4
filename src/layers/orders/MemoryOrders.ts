import { Effect, Layer, Option, Result, Schedule, Stream } from "effect"
import type { JobQueueError } from "../../services/jobs/JobError.ts"
import { JobQueue } from "../../services/jobs/JobQueue.ts"
import { clearingAccount } from "../../services/orders/Account.ts"
import * as Order from "../../services/orders/Order.ts"
import { Charge, Settle, Ship } from "../../services/orders/OrderJobs.ts"
import { OrderProcessor } from "../../services/orders/OrderProcessor.ts"
import { maxPage, type OrderFilter, Orders } from "../../services/orders/Orders.ts"
import {
  KeyReused,
  OrderNotFound,
  OrdersStoreError,
  OrderStateConflict,
  OrderVersionMismatch,
  TransferRefused
} from "../../services/orders/OrdersError.ts"
import type { ChargeAnswer } from "../../services/orders/PaymentProvider.ts"
import * as Pricing from "../../services/orders/Pricing.ts"
import * as Settlement from "../../services/orders/Settlement.ts"
import * as Uuid from "../../services/postgres/Uuid.ts"
import * as MemoryStore from "./MemoryStore.ts"

type State = MemoryStore.MemoryStore["Service"]

/** How often a follower looks for the next event. */
const pollMillis = 20

const storeError = (operation: string, cause: JobQueueError) =>
  new OrdersStoreError({ operation, reason: cause.reason, cause })

const find = (state: State, id: string): Result.Result<Order.Order, OrderNotFound> => {
  const order = state.orders.get(id)
  return order === undefined ? Result.fail(new OrderNotFound({ id })) : Result.succeed(order)
}

/** The first answer again, or none when the key is new. */
const replay = (state: State, key: string, request: Order.OrderRequest) => {
  const known = state.orders.get(state.orderKeys.get(key) ?? "")
  if (known === undefined) return Result.succeed(undefined)
  return Order.canonical(Pricing.requestOf(known)) === Order.canonical(request)
    ? Result.succeed(Pricing.asAccepted(known))
    : Result.fail(new KeyReused({ key }))
}

interface Placing {
  readonly id: string
  readonly key: string
  readonly request: Order.OrderRequest
}

const place = (state: State, { id, key, request }: Placing, at: Date) =>
  Result.gen(function*() {
    const known = yield* replay(state, key, request)
    if (known !== undefined) return { value: known, isReplayed: true }
    const order = yield* Pricing.place(id, request, {
      currencyOf: (account) => state.accounts.get(account)?.currency,
      product: (sku) => state.products.get(sku)
    }, at)
    state.orders.set(id, order)
    state.orderKeys.set(key, id)
    return { value: order, isReplayed: false }
  })

const list = (state: State, filter: OrderFilter) => {
  const limit = Math.max(1, Math.min(maxPage, filter.limit ?? 50))
  const orders = [...state.orders.values()].filter((order) =>
    (filter.customerId === undefined || order.customerId === filter.customerId) &&
    (filter.status === undefined || order.status === filter.status) &&
    (filter.before === undefined || order.id < filter.before)
  ).sort((a, b) => a.id < b.id ? 1 : -1).slice(0, limit)
  return { orders, next: orders.length < limit ? undefined : orders.at(-1)?.id }
}

const cancel = (state: State, id: string, ifVersion: number | undefined, at: Date) =>
  Result.gen(function*() {
    const order = yield* find(state, id)
    if (ifVersion !== undefined && ifVersion !== order.version) {
      return yield* Result.fail(new OrderVersionMismatch({ id, expected: ifVersion, actual: order.version }))
    }
    const plan = Settlement.cancel(order, MemoryStore.booksOf(state), at)
    if (plan === undefined) {
      return yield* Result.fail(new OrderStateConflict({ id, status: order.status, action: "be cancelled" }))
    }
    if (typeof plan === "string") return yield* Result.fail(new TransferRefused({ reason: plan }))
    MemoryStore.write(state, plan, at)
    return state.orders.get(id) ?? order
  })

const makeOrders = Effect.gen(function*() {
  const state = yield* MemoryStore.MemoryStore
  const queue = yield* JobQueue

  const accept: Orders["Service"]["accept"] = Effect.fnUntraced(function*(key, request, requestId) {
    const id = yield* Uuid.next
    const receipt = yield* MemoryStore.atomically((at) => place(state, { id, key, request }, at))
    if (receipt.isReplayed) return receipt
    const kind = receipt.value.payment === "card" ? Charge : Settle
    yield* queue.enqueue(kind, { orderId: id, ...(requestId === undefined ? {} : { requestId }) }).pipe(
      // The payload was made here and fits its schema.
      Effect.catchTag(["JobPayloadInvalid", "JobOptionInvalid"], Effect.die),
      Effect.mapError((error) => storeError("accept", error))
    )
    return receipt
    // Whoever waits for the answer may leave: an order without its job would never end.
  }, Effect.uninterruptible)

  const nextEvents = (id: string) => (version: number) =>
    Effect.suspend(() => Effect.fromResult(find(state, id))).pipe(
      Effect.map((order) => ({ order, events: Order.eventsAfter(order, version) })),
      Effect.repeat({
        schedule: Schedule.spaced(pollMillis),
        until: ({ events, order }) => events.length > 0 || Order.isTerminal(order.status)
      }),
      Effect.map(({ events, order }) =>
        [
          events,
          Order.isTerminal(order.status) ? Option.none<number>() : Option.some(order.version)
        ] as const
      )
    )

  return Orders.of({
    accept,
    find: (id) => Effect.suspend(() => Effect.fromResult(find(state, id))),
    list: (filter) => Effect.sync(() => list(state, filter)),
    cancel: (id, options) => MemoryStore.atomically((at) => cancel(state, id, options?.ifVersion, at)),
    events: (id, afterVersion) => Stream.paginate(afterVersion ?? 0, nextEvents(id)),
    count: Effect.sync(() => {
      const counts = new Map<string, number>()
      for (const { status } of state.orders.values()) counts.set(status, (counts.get(status) ?? 0) + 1)
      return [...counts].map(([status, orders]) => ({ status, orders }))
    })
  })
})

const enqueueShips = (queue: JobQueue["Service"], ids: ReadonlyArray<string>) =>
  ids.length === 0 ? Effect.void : queue.enqueueMany(Ship, ids.map((orderId) => ({ orderId }))).pipe(
    // The payloads were made here and fit their schema.
    Effect.catchTag(["JobPayloadInvalid", "JobOptionInvalid"], Effect.die),
    Effect.mapError((error) => storeError("settle", error)),
    Effect.asVoid
  )

const known = (state: State, ids: ReadonlyArray<string>) =>
  ids.flatMap((id) => {
    const order = state.orders.get(id)
    return order === undefined ? [] : [order]
  })

const makeProcessor = Effect.gen(function*() {
  const state = yield* MemoryStore.MemoryStore
  const queue = yield* JobQueue

  const beginCharge = Effect.fnUntraced(function*(id: string) {
    const transferId = yield* Uuid.next
    return yield* MemoryStore.atomically((at) =>
      Result.map(find(state, id), (order) => {
        MemoryStore.open(state, clearingAccount(order.currency), at)
        const plan = Settlement.charge(
          order,
          MemoryStore.booksOf(state),
          Settlement.chargeTransfer(transferId, order, at),
          at
        )
        if (plan !== undefined) MemoryStore.write(state, plan, at)
        return state.orders.get(id) ?? order
      })
    )
  })

  const endCharge = Effect.fnUntraced(function*(id: string, answer: ChargeAnswer) {
    const [order, toShip] = yield* MemoryStore.atomically((at) =>
      Result.map(find(state, id), (order) => {
        const transfer = state.transfers.get(state.transferKeys.get(Settlement.chargeKey(id)) ?? "")
        const plan = transfer === undefined
          ? undefined
          : Settlement.charged(order, { answer, transfer }, MemoryStore.booksOf(state), at)
        if (plan !== undefined) MemoryStore.write(state, plan, at)
        return [state.orders.get(id) ?? order, plan?.toShip ?? []] as const
      })
    )
    yield* enqueueShips(queue, toShip)
    return order
  }, Effect.uninterruptible)

  return OrderProcessor.of({
    settle: Effect.fnUntraced(function*(ids) {
      const plan = yield* MemoryStore.atomically((at) => {
        const plan = Settlement.settle(known(state, ids), MemoryStore.booksOf(state), at)
        MemoryStore.write(state, plan, at)
        return Result.succeed(plan)
      })
      yield* enqueueShips(queue, plan.toShip)
      return known(state, ids)
    }, Effect.uninterruptible),
    ship: (ids) =>
      MemoryStore.atomically((at) => {
        MemoryStore.write(state, Settlement.ship(known(state, ids), at), at)
        return Result.succeed(known(state, ids))
      }),
    beginCharge,
    endCharge
  })
})

/** Orders in memory: placing, finding, following and cancelling, and the work behind them. */
export const layer: Layer.Layer<Orders | OrderProcessor, never, MemoryStore.MemoryStore | JobQueue> = Layer.merge(
  Layer.effect(Orders, makeOrders),
  Layer.effect(OrderProcessor, makeProcessor)
)
