/**
 * The connections of the workers themselves. Handlers may take every connection of the pool, and wait in all of them: a
 * worker that could not beat meanwhile would be declared dead, and one that could not settle would do its work for
 * nothing.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import { Effect, Exit, type Scope } from "effect"
import * as Reactivity from "effect/reactivity/Reactivity"
import type { SqlError } from "effect/sql/SqlError"
import { JobQueueError } from "../../services/jobs/JobError.ts"
import { operation } from "./JobSql.ts"

/** Claims, settles, housekeeping and crons of all workers of a process; an idle process keeps one. */
const maxControl = 4
/** A statement of a worker gives up a lock after this: what is locked holds up only itself. In milliseconds. */
const lockMillis = 2_000
/**
 * Without an answer for so long a connection is taken for lost; twice as long each time, as it may be the server that
 * is slow. In milliseconds.
 */
const patienceFirstMillis = 10_000
const patienceMaxMillis = 160_000

/**
 * Runs statements as one operation of a worker, which has an answer in bounded time: a host that is cut off would wait
 * for one for a quarter of an hour.
 */
export type Ask = (name: string) => <A, E, R>(
  self: Effect.Effect<A, E, R>
) => Effect.Effect<A, Exclude<E, SqlError> | JobQueueError, R>

export interface JobConnections {
  /** For claims, settles and housekeeping. */
  readonly control: PgClient.PgClient
  /** For heartbeats, and nothing else. */
  readonly pulse: PgClient.PgClient
  readonly ask: Ask
}

/** One operation, given up after so long. */
export const within =
  (name: string, millis: number) =>
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, Exclude<E, SqlError> | JobQueueError, R> =>
    Effect.timeoutOrElse(operation(name)(self), {
      duration: millis,
      orElse: () =>
        Effect.fail(
          new JobQueueError({ operation: name, reason: "Unavailable", detail: `no answer within ${millis} ms` })
        )
    })

const makeAsk = (): Ask => {
  const patience = new Map<string, number>()
  return (name) => (self) =>
    Effect.suspend(() => {
      const millis = patience.get(name) ?? patienceFirstMillis
      // Until there is an answer, of whatever kind.
      patience.set(name, Math.min(patienceMaxMillis, millis * 2))
      const answered = Effect.onExit(
        self,
        (exit) => Effect.sync(() => void (Exit.hasInterrupts(exit) || patience.delete(name)))
      )
      return within(name, millis)(answered)
    })
}

/** Opens them like the pool that is given, and lazily: who only enqueues has none of them. */
export const make = Effect.fnUntraced(function*(
  sql: PgClient.PgClient
): Effect.fn.Return<JobConnections, never, Scope.Scope> {
  const { startupParameters } = sql.config
  const open = (applicationName: string, maxConnections: number, settings: Readonly<Record<string, string>>) => {
    const config: PgClient.PgPoolConfig = {
      ...sql.config,
      applicationName,
      multiplex: false,
      minConnections: 0,
      maxConnections,
      // What takes no parameters at all, such as a pooler, is not asked for these either.
      ...(startupParameters?.["statement_timeout"] !== undefined && {
        startupParameters: { ...startupParameters, ...settings }
      })
    }
    // Nothing is connected to here, and the configuration is one that a pool was made of.
    return Effect.orDie(Effect.provide(PgClient.make(config), Reactivity.layer))
  }
  return {
    control: yield* open("sluice-jobs", maxControl, { lock_timeout: String(lockMillis) }),
    pulse: yield* open("sluice-jobs-beat", 1, {}),
    ask: makeAsk()
  }
})
