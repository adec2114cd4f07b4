/** The workers behind orders: who settles, charges and ships. */
import { Duration, Effect, type Layer } from "effect"
import type { JobQueueError } from "../../services/jobs/JobError.ts"
import * as JobHandler from "../../services/jobs/JobHandler.ts"
import type { JobStore } from "../../services/jobs/JobStore.ts"
import * as JobWorker from "../../services/jobs/JobWorker.ts"
import * as OrderJobs from "../../services/orders/OrderJobs.ts"
import { OrderProcessor } from "../../services/orders/OrderProcessor.ts"
import { PaymentProvider } from "../../services/orders/PaymentProvider.ts"
import * as Tasks from "../../services/tasks/Tasks.ts"

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
const logged = ({ orderId, requestId }: OrderJobs.OrderJob) =>
  Effect.annotateLogs({ orderId, requestId: requestId ?? "none" })

const settle = (maxSize: number) =>
  JobHandler.batch(
    OrderJobs.Settle,
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
  JobHandler.plain(OrderJobs.Charge, (payload) =>
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
    ? JobHandler.batch(OrderJobs.Ship, (items) =>
      Effect.flatMap(OrderProcessor, (processor) =>
        Effect.asVoid(processor.ship(items.map(({ payload }) =>
          payload.orderId
        )))))
    // The picking is outside every transaction; what counts is one short step at its end, which only the first of several can make.
    : JobHandler.plain(OrderJobs.Ship, (payload) =>
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

/** A worker of orders; its concurrency is the number of orders that are charged and shipped at the same time. */
export const layer = (
  options: Options & JobWorker.WorkerOptions = {}
): Layer.Layer<JobWorker.JobWorker, JobQueueError, JobStore | OrderProcessor | PaymentProvider> =>
  JobWorker.layer(handlers(options), { label: "orders", concurrency: 5, ...options })
