import type * as PgClient from "@effect/sql-pg/PgClient"
import * as PgConnection from "@effect/sql-pg/PgConnection"
import { Clock, Effect, Queue, type Scope } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { JobId } from "../../services/jobs/Job.ts"
import type { JobQueueError } from "../../services/jobs/JobError.ts"
import type { Beat, JoinOptions, Membership, Signal } from "../../services/jobs/JobStore.ts"
import { Outage } from "../../services/postgres/Outage.ts"
import * as Columns from "../postgres/Columns.ts"
import * as FleetChores from "./FleetChores.ts"
import { type JobConnections, within } from "./JobConnections.ts"
import { channel, idOf, workerLockClass } from "./JobSql.ts"
import { housekeeping } from "./PostgresHousekeeping.ts"

/** What of the layer's options the fleet needs. */
export interface FleetOptions {
  /** False: poll only, for connections through a transaction pooler. */
  readonly listen: boolean
  readonly historyDays: number
}

/** A listener proves itself this often; one that did not hear itself is connected anew. */
const probeEveryMillis = 15_000
const probeAnswerMillis = 5_000
const relistenMillis = 500

/** Connecting may take so long on a host that is busy. */
const minAnswerMillis = 1_000

interface BeatRow {
  readonly alive: boolean
  readonly died: number
  readonly lost: ReadonlyArray<number> | null
  readonly is_due: boolean | null
  readonly next_due: number | null
  readonly cancelled: ReadonlyArray<bigint> | null
}

/** For what the next round makes up for; outages are told of by the worker's heartbeat. */
const quietly = (what: string) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<void, never, R> =>
  Effect.catchCause(Effect.asVoid(self), (cause) => Effect.logDebug(`jobs: ${what} failed`, cause))

/** Who listens, for what, and whom it tells. */
interface Listening {
  readonly sql: PgClient.PgClient
  readonly worker: number
  readonly queues: ReadonlySet<string>
  readonly signals: Queue.Queue<Signal>
  readonly outage: Outage
}

/**
 * Holds one connection outside the pool that listens and carries the worker's session lock, and connects it anew when it
 * breaks. While it is down the worker lives by its poll and its heartbeats.
 */
const listener = Effect.fnUntraced(function*(
  { outage, queues, signals, sql, worker }: Listening
): Effect.fn.Return<void, SqlError, Scope.Scope> {
  const connection = yield* Effect.flatMap(
    PgConnection.make({ ...sql.config, multiplex: false, applicationName: "sluice-jobs-listen" }),
    (session) => session.pin
  )
  yield* connection.query("select pg_advisory_lock($1::int4, $2::int4)", [workerLockClass, worker], false)
  const notifications = yield* connection.listen(channel)
  yield* sql`update sluice.job_worker set locked = true where id = ${worker}`
  yield* outage.worked
  // Whatever was announced while nobody listened.
  yield* Queue.offer(signals, { _tag: "Wake" })
  let heardAt = yield* Clock.currentTimeMillis
  const hear = Effect.gen(function*() {
    while (true) {
      const { payload } = yield* Queue.take(notifications)
      heardAt = yield* Clock.currentTimeMillis
      const about = payload.slice(2)
      if (payload.startsWith("w:")) {
        if (queues.has(about)) yield* Queue.offer(signals, { _tag: "Wake" })
      } else if (payload.startsWith(`c:${worker}:`)) {
        yield* Queue.offer(signals, { _tag: "Cancel", id: JobId.make(payload.slice(`c:${worker}:`.length)) })
      }
    }
  })
  const probe = Effect.gen(function*() {
    while (true) {
      yield* Effect.sleep(probeEveryMillis)
      const asked = yield* Clock.currentTimeMillis
      yield* sql`select pg_notify(${channel}, ${`p:${worker}`})`
      yield* Effect.sleep(probeAnswerMillis)
      if (heardAt < asked) return yield* Effect.logWarning("jobs: the listener no longer hears: connecting it anew")
    }
  })
  yield* Effect.raceFirst(hear, probe)
})

const listenAlways = (listening: Listening): Effect.Effect<never> =>
  Effect.scoped(listener(listening)).pipe(
    Effect.catchCause((cause) => listening.outage.failed("listening", cause)),
    Effect.andThen(Effect.sleep(relistenMillis)),
    Effect.forever
  )

/** Joins the fleet: a row, a listening session with a lock, heartbeats. */
export const join = Effect.fnUntraced(function*(
  connections: JobConnections,
  options: FleetOptions,
  joining: JoinOptions
): Effect.fn.Return<Membership, JobQueueError, Scope.Scope> {
  const { ask, control, pulse } = connections
  const [joined] = yield* control.unsafe<{ readonly worker: number }>(
    "select sluice.job_join($1, $2, $3, $4) as worker",
    [joining.label, Columns.texts(joining.queues), joining.leaseMillis, joining.beatMillis]
  ).pipe(ask("join"))
  const worker = joined?.worker ?? 0
  yield* Effect.addFinalizer(() =>
    quietly("leaving")(
      within("leave", Math.max(minAnswerMillis, joining.leaseMillis))(control`select sluice.job_leave(${worker}::int4)`)
    )
  )
  const signals = yield* Queue.sliding<Signal>(4096)
  if (options.listen) {
    const outage = yield* Effect.acquireRelease(
      Effect.sync(() => new Outage("jobs: the listener's connection is lost; the poll finds jobs meanwhile")),
      (outage) => Effect.sync(() => outage.forget())
    )
    yield* Effect.forkScoped(listenAlways({ sql: control, worker, queues: new Set(joining.queues), signals, outage }))
  }
  yield* Effect.forkScoped(housekeeping(control, options.historyDays))
  return {
    worker,
    signals,
    idle: (isIdle) => Effect.asVoid(ask("idle")(control`select sluice.job_idle(${worker}::int4, ${isIdle})`)),
    // An answer that comes after the lease is no answer.
    beat: within("heartbeat", Math.max(minAnswerMillis, joining.leaseMillis))(beat(pulse, worker)),
    tend: yield* FleetChores.make(connections)
  }
})

const beat = (sql: PgClient.PgClient, worker: number): Effect.Effect<Beat, SqlError> =>
  Effect.map(sql.unsafe<BeatRow>("select * from sluice.job_beat($1)", [worker]), ([row]) => ({
    alive: row?.alive ?? false,
    deadWorkers: row?.died ?? 0,
    lost: row?.lost ?? [],
    isDue: row?.is_due ?? false,
    nextDueMillis: row?.next_due ?? undefined,
    cancelled: (row?.cancelled ?? []).map(idOf)
  }))
