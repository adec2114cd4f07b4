import type * as PgClient from "@effect/sql-pg/PgClient"
import * as PgConnection from "@effect/sql-pg/PgConnection"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import { JobId } from "../../services/jobs/Job.ts"
import type { JobQueueError } from "../../services/jobs/JobError.ts"
import type { Beat, CronEntry, JoinOptions, Membership, NewJob, Signal } from "../../services/jobs/JobStore.ts"
import { Outage } from "../../services/jobs/Outage.ts"
import * as Columns from "../postgres/Columns.ts"
import { channel, idOf, operation, workerLockClass } from "./JobSql.ts"

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
/** Partitions and retention are looked at this often, counters folded at most this often. */
const partitionsEveryMillis = 3_600_000
const foldEveryMillis = 1_000

interface BeatRow {
  readonly alive: boolean
  readonly died: number
  readonly lost: ReadonlyArray<number> | null
  readonly next_due: number | null
  readonly cancelled: ReadonlyArray<bigint> | null
}

interface Recovered {
  readonly recovered: number
  readonly held: number
}

interface Promoted {
  readonly next_due: number | null
}

/** For what the next round makes up for; outages are told of by the worker's heartbeat. No rows when it failed. */
const quietly =
  (what: string) => <A, E, R>(self: Effect.Effect<ReadonlyArray<A>, E, R>): Effect.Effect<ReadonlyArray<A>, never, R> =>
    Effect.catchCause(self, (cause) => Effect.as(Effect.logDebug(`jobs: ${what} failed`, cause), []))

/**
 * Holds one connection outside the pool that listens and carries the worker's session lock, and connects it anew when it
 * breaks. While it is down the worker lives by its poll and its heartbeats.
 */
const listener = Effect.fnUntraced(function*(
  sql: PgClient.PgClient,
  worker: number,
  queues: ReadonlySet<string>,
  signals: Queue.Queue<Signal>,
  outage: Outage
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

const listenAlways = (
  sql: PgClient.PgClient,
  worker: number,
  queues: ReadonlySet<string>,
  signals: Queue.Queue<Signal>,
  outage: Outage
): Effect.Effect<never> =>
  Effect.scoped(listener(sql, worker, queues, signals, outage)).pipe(
    Effect.catchCause((cause) => outage.failed("listening", cause)),
    Effect.andThen(Effect.sleep(relistenMillis)),
    Effect.forever
  )

/** Housekeeping that any worker may do: adds counters up, makes and drops partitions. */
const housekeeping = (sql: PgClient.PgClient, options: FleetOptions): Effect.Effect<never> =>
  Effect.gen(function*() {
    let partitionsAt = 0
    while (true) {
      const before = yield* Clock.currentTimeMillis
      if (before - partitionsAt >= partitionsEveryMillis) {
        partitionsAt = before
        yield* quietly("partitions")(sql`select sluice.job_partitions(${options.historyDays}::int4)`)
      }
      yield* quietly("folding counters")(sql`select sluice.job_fold()`)
      const spent = (yield* Clock.currentTimeMillis) - before
      // A held snapshot makes folding slow: it then takes at most a twentieth of the time.
      yield* Effect.sleep(Math.max(foldEveryMillis, spent * 20))
    }
  })

/** Joins the fleet: a row, a listening session with a lock, heartbeats. */
export const join = Effect.fnUntraced(function*(
  sql: PgClient.PgClient,
  options: FleetOptions,
  joining: JoinOptions
): Effect.fn.Return<Membership, JobQueueError, Scope.Scope> {
  const rows = yield* sql<{ readonly id: number }>`
    insert into sluice.job_worker (label, queues, lease_millis, beat_millis)
    values (${joining.label}, ${Columns.texts(joining.queues)}, ${joining.leaseMillis}, ${joining.beatMillis})
    returning id`.pipe(operation("join"))
  const worker = rows[0]?.id ?? 0
  yield* Effect.addFinalizer(() =>
    quietly("leaving")(sql`select sluice.job_leave(${worker}::int4)`)
  )
  const signals = yield* Queue.sliding<Signal>(4096)
  if (options.listen) {
    const outage = new Outage("the listener's connection is lost; the poll finds jobs meanwhile")
    yield* Effect.forkScoped(listenAlways(sql, worker, new Set(joining.queues), signals, outage))
  }
  yield* Effect.forkScoped(housekeeping(sql, options))
  return {
    worker,
    signals,
    idle: (idle) =>
      Effect.asVoid(operation("idle")(sql`update sluice.job_worker set idle = ${idle} where id = ${worker}`)),
    beat: operation("heartbeat")(beat(sql, worker))
  }
})

/**
 * A heartbeat, and what it finds to do, each in a transaction of its own: the jobs of each lost worker, and due jobs. What of that fails is found again by
 * the next beat, of whomever.
 */
const beat = Effect.fnUntraced(function*(sql: PgClient.PgClient, worker: number): Effect.fn.Return<Beat, SqlError> {
  const [row] = yield* sql.unsafe<BeatRow>("select * from sluice.job_beat($1)", [worker])
  let recovered = 0
  let held = 0
  for (const lost of row?.lost ?? []) {
    const [taken] = yield* quietly("recovering")(sql.unsafe<Recovered>("select * from sluice.job_recover($1)", [lost]))
    recovered += taken?.recovered ?? 0
    held += taken?.held ?? 0
  }
  let due = row?.next_due ?? null
  if (due !== null && due <= 0) {
    const [next] = yield* quietly("promoting")(sql.unsafe<Promoted>("select * from sluice.job_promote()"))
    due = next?.next_due ?? null
  }
  return {
    alive: row?.alive ?? false,
    deadWorkers: row?.died ?? 0,
    recovered,
    held,
    nextDueMillis: due === null ? undefined : Math.max(0, due),
    cancelled: (row?.cancelled ?? []).map(idOf)
  }
})

/** Enqueues each due tick once: whoever gets the row's lock moves it on and enqueues in the same transaction. */
export const tick = (
  sql: PgClient.PgClient,
  entries: ReadonlyArray<CronEntry>,
  insert: (jobs: ReadonlyArray<NewJob>) => Effect.Effect<unknown, SqlError | JobQueueError>
): Effect.Effect<number, SqlError | JobQueueError> =>
  Effect.gen(function*() {
    const names = Columns.texts(entries.map((entry) => entry.name))
    const [look] = yield* sql.unsafe<{ readonly now: number; readonly due: boolean }>(
      `select extract(epoch from now())::float8 * 1000 as now,
        (select count(*) from sluice.job_cron c join unnest($1::text[], $2::text[]) as u(name, signature) using (name)
         where c.signature = u.signature and c.next_at > now()) < cardinality($1::text[]) as due`,
      [names, Columns.texts(entries.map((entry) => entry.signature))]
    )
    if (look?.due !== true) return 0
    return yield* sql.withTransaction(fire(sql, entries, look.now, insert))
  })

const fire = Effect.fnUntraced(function*(
  sql: PgClient.PgClient,
  entries: ReadonlyArray<CronEntry>,
  now: number,
  insert: (jobs: ReadonlyArray<NewJob>) => Effect.Effect<unknown, SqlError | JobQueueError>
): Effect.fn.Return<number, SqlError | JobQueueError> {
  let fired = 0
  for (const entry of [...entries].sort((a, b) => a.name < b.name ? -1 : 1)) {
    const next = new Date(entry.next(now))
    // New, or with another timetable: it starts with the next tick and makes up for nothing.
    yield* sql`insert into sluice.job_cron as c (name, signature, next_at)
      values (${entry.name}, ${entry.signature}, ${next})
      on conflict (name) do update set signature = excluded.signature, next_at = excluded.next_at
      where c.signature <> excluded.signature`
    const moved = yield* sql`update sluice.job_cron set next_at = ${next}
      where name = ${entry.name} and signature = ${entry.signature} and next_at <= now() and next_at < ${next} returning name`
    if (moved.length === 0) continue
    fired++
    yield* insert([entry.job])
  }
  return fired
})
