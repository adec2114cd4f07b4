/**
 * The connections of the workers themselves. Handlers may take every connection of the pool, and wait in all of them: a worker that could not beat meanwhile
 * would be declared dead, and one that could not settle would do its work for nothing.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import { JobQueueError } from "../../services/jobs/JobError.ts"
import { operation } from "./JobSql.ts"

/** Claims, settles, housekeeping and crons of all workers of a process; an idle process keeps one. */
const maxControl = 4
/** A statement of a worker gives up a lock after this: what is locked holds up only itself. In milliseconds. */
const lockMillis = 2_000
/** The server cancels it after this at the latest; the client waits a little longer, and then takes the connection for lost. In milliseconds. */
const statementMillis = 30_000
const answerMillis = 35_000

export interface JobConnections {
  /** For claims, settles and housekeeping; statements end by themselves. */
  readonly control: PgClient.PgClient
  /** For heartbeats, and nothing else. */
  readonly pulse: PgClient.PgClient
}

/** Opens them like the pool that is given, and lazily: who only enqueues has none of them. */
export const make = Effect.fnUntraced(function*(
  sql: PgClient.PgClient
): Effect.fn.Return<JobConnections, never, Scope.Scope> {
  const { startupParameters } = sql.config
  const limitMillis = Number(startupParameters?.["statement_timeout"] ?? 0)
  const open = (applicationName: string, maxConnections: number, settings: Readonly<Record<string, string>>) => {
    const config: PgClient.PgPoolConfig = {
      ...sql.config,
      applicationName,
      multiplex: false,
      minConnections: 0,
      maxConnections,
      // What takes no parameters at all, such as a pooler, is not asked for these either.
      ...(limitMillis > 0 && { startupParameters: { ...startupParameters, ...settings } })
    }
    // Nothing is connected to here, and the configuration is one that a pool was made of.
    return Effect.orDie(Effect.provide(PgClient.make(config), Reactivity.layer))
  }
  return {
    control: yield* open("sluice-jobs", maxControl, {
      statement_timeout: String(Math.min(limitMillis, statementMillis)),
      lock_timeout: String(lockMillis)
    }),
    pulse: yield* open("sluice-jobs-beat", 1, {})
  }
})

/** One operation of a worker, which has an answer in bounded time: a host that is cut off would wait for one for a quarter of an hour. */
export const answered =
  (name: string, millis = answerMillis) =>
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, Exclude<E, SqlError> | JobQueueError, R> =>
    Effect.timeoutOrElse(operation(name)(self), {
      duration: millis,
      orElse: () =>
        Effect.fail(
          new JobQueueError({ operation: name, reason: "Unavailable", detail: `no answer within ${millis} ms` })
        )
    })
