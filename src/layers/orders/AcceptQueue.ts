/** Orders on their way into the database: which keys are in flight, and the batches that their requests go with. */
import { Effect, type Scope } from "effect"
import type { JobQueueError } from "../../services/jobs/JobError.ts"
import type { Receipt } from "../../services/orders/Ledger.ts"
import type { Order } from "../../services/orders/Order.ts"
import type { Orders } from "../../services/orders/Orders.ts"
import { KeyInFlight, type KeyReused, type OrderRefused, OrdersStoreError } from "../../services/orders/OrdersError.ts"
import * as GroupCommit from "../../services/tasks/GroupCommit.ts"
import type { Answer, Placement } from "./PostgresAccept.ts"
import * as StoreFailure from "./StoreFailure.ts"

/** How orders are accepted. */
export interface Options {
  /**
   * Transactions with accepted orders at the same time. One is faster than several: while it is written, the next one
   * gathers. @default 1
   */
  readonly flushes?: number | undefined
  /** Orders in one of them at most. @default 500 */
  readonly maxBatch?: number | undefined
  /** Orders that wait to be written at most; further ones are turned away. @default 10000 */
  readonly capacity?: number | undefined
}

/** Accepts, and how many keys are in flight. */
export interface AcceptQueue {
  readonly accept: Orders["Service"]["accept"]
  readonly inFlight: () => number
}

/** Accepting by batches that `flush` writes. */
export const make = Effect.fnUntraced(function*(
  flush: (
    placements: ReadonlyArray<Placement>
  ) => Effect.Effect<ReadonlyArray<Answer>, OrdersStoreError | JobQueueError>,
  options: Options
): Effect.fn.Return<AcceptQueue, never, Scope.Scope> {
  const inFlight = new Set<string>()
  const submit = yield* GroupCommit.make<Placement, Receipt<Order>, OrderRefused | KeyReused | OrdersStoreError>({
    flush: (placements) =>
      Effect.ensuring(
        StoreFailure.named("Orders.accept")(flush(placements)),
        // Here and not where the caller waits: a caller may leave before its request is written.
        Effect.sync(() => placements.forEach(({ key }) => inFlight.delete(key)))
      ),
    isCommon: (error) => error._tag === "OrdersStoreError" && error.reason !== "Rejected",
    inFlight: options.flushes ?? 1,
    isOverlapping: true,
    maxWeight: options.maxBatch ?? 500,
    capacity: options.capacity ?? 10_000,
    whenFull: ({ key }) => {
      inFlight.delete(key)
      return new OrdersStoreError({
        operation: "Orders.accept",
        reason: "Unavailable",
        cause: "too many orders are waiting"
      })
    },
    late: () =>
      new OrdersStoreError({ operation: "Orders.accept", reason: "TimedOut", cause: "the caller's deadline has come" })
  })
  const accept: Orders["Service"]["accept"] = (key, request, requestId) =>
    Effect.withFiber((fiber): ReturnType<Orders["Service"]["accept"]> => {
      if (inFlight.has(key)) return Effect.fail(new KeyInFlight({ key }))
      inFlight.add(key)
      return submit({ key, request, requestId }, fiber)
    })
  return { accept, inFlight: () => inFlight.size }
})
