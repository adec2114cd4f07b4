/**
 * The jobs behind an order, and what a worker does with them: settle (paid from an account, in batches), charge (paid by card) and ship.
 */
import { Duration, Effect, Schedule, Schema } from "effect"
import * as Job from "../jobs/Job.ts"
import * as JobHandler from "../jobs/JobHandler.ts"
import * as Tasks from "../tasks/Tasks.ts"
import { OrderId } from "./Ids.ts"
import { OrderProcessor } from "./OrderProcessor.ts"
import { PaymentProvider } from "./PaymentProvider.ts"

const Payload = Schema.Struct({
  orderId: OrderId,
  /** The id of the HTTP request that placed the order: one id from the request to the log of its jobs. */
  requestId: Schema.optionalKey(Schema.String)
})

/** What each job of an order carries. */
export type OrderJob = typeof Payload.Type

/** Soon after a conflict, then ever more slowly, so that an order outlives a database restart or a provider's bad hour. */
const retry = Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced("30 seconds")])

/** Pays an order from its customer's account. */
export const Settle = Job.make("orders.settle", {
  payload: Payload,
  retry,
  maxAttempts: 50,
  timeout: "30 seconds",
  history: "none"
})

/** Pays an order by card: pending transfer, call with the order's key, post or void. */
export const Charge = Job.make("orders.charge", { payload: Payload, retry, maxAttempts: 100, timeout: "30 seconds" })

/** Picks and ships a paid order. */
export const Ship = Job.make("orders.ship", {
  payload: Payload,
  retry,
  maxAttempts: 50,
  timeout: "5 minutes",
  history: "outcome"
})

/** How orders are worked on. */
export interface Options {
  /** How long picking and packing one order takes; zero ships in batches. @default 0 */
  readonly picking?: Duration.Input | undefined
  /** Orders paid in one transaction at most. @default 500 */
  readonly maxSettle?: number | undefined
  /** How long the payment provider may take to answer one try. @default "10 seconds" */
  readonly providerTimeout?: Duration.Input | undefined
}

/** One id from the HTTP request to the log of its jobs. */
const logged = ({ orderId, requestId }: OrderJob) => Effect.annotateLogs({ orderId, requestId: requestId ?? "none" })

const settle = (maxSize: number) =>
  JobHandler.batch(
    Settle,
    (items) =>
      Effect.flatMap(OrderProcessor, (processor) =>
        Effect.asVoid(processor.settle(items.map(({ payload }) => payload.orderId)))),
    // Every batch waits for the accounts that many orders touch: they are locked for the books alone.
    { maxSize, settle: "first" }
  )

/**
 * Pending, then the call with the order's key, then post or void. It may run again after any of these steps: each of them changes nothing
 * when it was done before.
 */
const charge = (timeout: Duration.Input) =>
  JobHandler.plain(Charge, (payload) =>
    Effect.gen(function*() {
      const processor = yield* OrderProcessor
      const provider = yield* PaymentProvider
      const order = yield* processor.beginCharge(payload.orderId)
      if (order.status !== "charging") return
      const request = { key: order.id, amount: order.total, currency: order.currency, customerId: order.customerId }
      const known = yield* provider.find(order.id).pipe(Effect.timeout(timeout))
      const answer = known ?? (yield* provider.charge(request).pipe(Effect.timeout(timeout)))
      yield* processor.endCharge(order.id, answer)
    }).pipe(
      // A job for an order that is not there can never succeed.
      Effect.catchTag("OrderNotFound", ({ id }) => Effect.logWarning(`no order ${id} to charge`)),
      Tasks.named(() => `charge ${payload.orderId}`),
      logged(payload)
    ))

const ship = (picking: Duration.Duration) =>
  Duration.isZero(picking)
    ? JobHandler.batch(Ship, (items) =>
      Effect.flatMap(OrderProcessor, (processor) =>
        Effect.asVoid(processor.ship(items.map(({ payload }) =>
          payload.orderId
        )))))
    // The picking is outside every transaction; what counts is one short step at its end, which only the first of several can make.
    : JobHandler.plain(Ship, (payload) =>
      Effect.sleep(picking).pipe(
        Effect.andThen(Effect.flatMap(OrderProcessor, (processor) => processor.ship([payload.orderId]))),
        Effect.asVoid,
        Tasks.named(() => `ship ${payload.orderId}`),
        logged(payload)
      ))

/** The handlers of orders, for a worker that also does other work. */
export const handlers = (options: Options = {}) =>
  [
    settle(options.maxSettle ?? 500),
    charge(options.providerTimeout ?? "10 seconds"),
    ship(Duration.fromInputUnsafe(options.picking ?? 0))
  ] as const
