/**
 * A lane of the pool for requests that lock rows: however many of them wait for one row, the rest of the pool stays free for the others.
 * Who finds the lane full waits without a connection.
 */
import type * as PgClient from "@effect/sql-pg/PgClient"
import { Effect, Option } from "effect"
import { OrdersStoreError } from "../../services/orders/OrdersError.ts"
import * as FairSemaphore from "../../services/tasks/FairSemaphore.ts"
import * as StoreFailure from "./StoreFailure.ts"

/** Requests that wait at most; further ones are turned away. */
const capacity = 1000

/** The pool's size where its maker does not say. */
const defaultPool = 10

const poolSize = ({ config }: PgClient.PgClient): number =>
  "maxConnections" in config && typeof config.maxConnections === "number" ? config.maxConnections : defaultPool

/** Runs transactions as {@link StoreFailure.transact} does, a quarter as many at once as there are connections. */
export const make = (sql: PgClient.PgClient, name: string) =>
  Effect.map(
    FairSemaphore.make(Math.max(1, Math.floor(poolSize(sql) / 4)), { name }),
    (lane) =>
    (operation: string) =>
    <A, E, R>(
      self: Effect.Effect<A, E, R>
    ): Effect.Effect<A, Exclude<E, StoreFailure.Unnamed> | OrdersStoreError, R> => {
      const transaction = StoreFailure.transact(sql, operation)(self)
      const full = new OrdersStoreError({ operation, reason: "Unavailable", cause: "too many requests are waiting" })
      return Effect.flatMap(Effect.serviceOption(sql.transactionService), (outer) =>
        Option.isSome(outer)
          ? transaction
          : Effect.flatMap(
            lane.stats,
            ({ waiting }) => waiting < capacity ? lane.withPermit(transaction) : Effect.fail(full)
          ))
    }
  )
