import type * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { ClaimedJob, Settlement } from "../../services/jobs/JobStore.ts"
import { aging, float8s, idOf, int4s, int8s, texts } from "./JobSql.ts"

interface ClaimedRow {
  readonly id: bigint
  readonly queue: string
  readonly kind: string
  readonly attempt: number
  readonly max_attempts: number
  readonly payload: unknown
  readonly enqueued_at: Date
  readonly key: string | null
}

const claimStatement = `
  with due as materialized (
    select d.place from unnest($2::text[], $3::int4[]) as q(queue, n) cross join lateral (
      select j.ctid as place from sluice.job j where j.queue = q.queue and j.state = 0
      order by j.rank, j.id limit sluice.job_allowance(q.queue, q.n) for update skip locked
    ) d
  ), claimed as (
    update sluice.job j set state = 1, attempt = j.attempt + 1, worker = $1, started_at = now()
    from due where j.ctid = due.place
    returning j.id, j.queue, j.kind, j.attempt, j.max_attempts, j.payload, j.enqueued_at, j.key, j.rank
  ), delta as (
    insert into sluice.job_delta (queue, ready, running) select queue, -count(*), count(*) from claimed group by queue
  )
  select id, queue, kind, attempt, max_attempts, payload, enqueued_at, key from claimed order by rank, id`

/** Claims, best first: the fence of each job is its id, its attempt and the worker. */
export const claim = (
  sql: PgClient.PgClient,
  worker: number,
  queues: ReadonlyArray<{ readonly queue: string; readonly limit: number }>
): Effect.Effect<ReadonlyArray<ClaimedJob>, SqlError> =>
  Effect.map(
    sql.unsafe<ClaimedRow>(claimStatement, [
      worker,
      texts(queues.map((entry) => entry.queue)),
      int4s(queues.map((entry) => entry.limit))
    ]),
    (rows) =>
      rows.map((row) => ({
        id: idOf(row.id),
        queue: row.queue,
        kind: row.kind,
        attempt: row.attempt,
        maxAttempts: row.max_attempts,
        payload: row.payload,
        enqueuedAt: row.enqueued_at,
        key: row.key
      }))
  )

const fenced = "j.id = u.id and j.attempt = u.attempt and j.worker = $1 and j.state = 1"
const historyColumns =
  "id, state, attempt, max_attempts, priority, worker, queue, kind, run_at, enqueued_at, started_at, finished_at, key, payload, result, error"

/** All succeeded, nothing but the outcome to write: the statement of the fast path. */
const succeedStatement = `
  with u as materialized (select * from unnest($2::int8[], $3::int4[]) as u(id, attempt)),
  done as (delete from sluice.job j using u where ${fenced} returning j.*),
  history as (
    insert into sluice.job_history (${historyColumns})
    select id, 4, attempt, max_attempts, priority, worker, queue, kind, run_at, enqueued_at, started_at, now(), key,
      payload, null, null from done
  ), delta as (
    insert into sluice.job_delta (queue, running, succeeded) select queue, -count(*), count(*) from done group by queue
  )
  select count(*)::int4 as n from done`

/** `state` is what each becomes (4, 5, 6); `keep` what history keeps (0 all, 1 the outcome, 2 nothing). */
const endStatement = `
  with u as materialized (
    select * from unnest($2::int8[], $3::int4[], $4::int4[], $5::int4[], $6::text[], $7::text[])
      as u(id, attempt, becomes, keep, outcome, failure)
  ), done as (delete from sluice.job j using u where ${fenced} returning j.*, u.becomes, u.keep, u.outcome, u.failure),
  history as (
    insert into sluice.job_history (${historyColumns})
    select id, becomes, attempt, max_attempts, priority, worker, queue, kind, run_at, enqueued_at, started_at, now(), key,
      case when keep = 0 then payload end, case when keep = 0 then outcome::json end, coalesce(failure::json, error)
    from done where becomes <> 5 and keep < 2
  ), dead as (
    insert into sluice.job_dead (id, attempt, max_attempts, priority, key_limit, worker, queue, kind, run_at, enqueued_at,
      started_at, finished_at, key, dedupe, payload, error)
    select id, attempt, max_attempts, priority, key_limit, worker, queue, kind, run_at, enqueued_at, started_at, now(),
      key, dedupe, payload, failure::json from done where becomes = 5
  ), delta as (
    insert into sluice.job_delta (queue, running, succeeded, dead, cancelled)
    select queue, -count(*), count(*) filter (where becomes = 4), count(*) filter (where becomes = 5),
      count(*) filter (where becomes = 6) from done group by queue
  )
  select count(*)::int4 as n from done`

/** Back to waiting. Who asked meanwhile for a cancellation gets it: those rows do not match here. */
const againStatement = `
  with u as materialized (
    select * from unnest($2::int8[], $3::int4[], $4::float8[], $5::int4[], $6::text[])
      as u(id, attempt, delay, refund, failure)
  ), moved as (
    update sluice.job j set
      state = case when u.delay > 0 then 2 else 0 end,
      attempt = j.attempt - u.refund,
      worker = null,
      started_at = null,
      run_at = case when u.delay > 0 then now() + make_interval(secs => u.delay / 1000) else j.run_at end,
      rank = case when u.delay > 0 then now() + make_interval(secs => u.delay / 1000) - j.priority * ${aging} else j.rank end,
      error = coalesce(u.failure::json, j.error)
    from u where ${fenced} and not j.cancel_requested
    returning j.id, j.queue, j.state, u.refund
  ), delta as (
    insert into sluice.job_delta (queue, running, ready, scheduled, retried)
    select queue, -count(*), count(*) filter (where state = 0), count(*) filter (where state = 2),
      count(*) filter (where refund = 0) from moved group by queue
  ), wake as materialized (
    select sluice.job_wake(array_agg(distinct queue)) from moved where state = 0 having count(*) > 0
  )
  select id from moved where (select count(*) from wake) >= 0`

type Ended = Settlement & { readonly verdict: { readonly _tag: "Succeeded" | "Dead" | "Cancelled" } }
type Again = Settlement & { readonly verdict: { readonly _tag: "Retry" | "Released" } }

const isEnded = (settlement: Settlement): settlement is Ended =>
  settlement.verdict._tag !== "Retry" && settlement.verdict._tag !== "Released"

const idsOf = (settlements: ReadonlyArray<Settlement>) => int8s(settlements.map(({ job }) => BigInt(job.id)))
const attemptsOf = (settlements: ReadonlyArray<Settlement>) => int4s(settlements.map(({ job }) => job.attempt))

/** Ends jobs; answers how many were still ours. */
const end = (sql: PgClient.PgClient, worker: number, ended: ReadonlyArray<Ended>): Effect.Effect<number, SqlError> => {
  const isBare = ended.every(({ verdict }) =>
    verdict._tag === "Succeeded" && verdict.result === null && verdict.history === "full"
  )
  const rows = isBare
    ? sql.unsafe<{ readonly n: number }>(succeedStatement, [worker, idsOf(ended), attemptsOf(ended)])
    : sql.unsafe<{ readonly n: number }>(endStatement, [
      worker,
      idsOf(ended),
      attemptsOf(ended),
      int4s(ended.map(({ verdict }) => verdict._tag === "Succeeded" ? 4 : verdict._tag === "Dead" ? 5 : 6)),
      int4s(
        ended.map(({ verdict }) =>
          verdict._tag !== "Succeeded" || verdict.history === "full" ? 0 : verdict.history === "outcome" ? 1 : 2
        )
      ),
      texts(ended.map(({ verdict }) => verdict._tag === "Succeeded" ? verdict.result : null)),
      texts(ended.map(({ verdict }) => verdict._tag === "Dead" ? JSON.stringify(verdict.failure) : null))
    ])
  return Effect.map(rows, ([row]) => row?.n ?? 0)
}

/** What waited behind the keys of ended jobs. */
const releaseKeys = (sql: PgClient.PgClient, ended: ReadonlyArray<Ended>): Effect.Effect<void, SqlError> => {
  const keyed = ended.filter(({ job }) => job.key !== null)
  return keyed.length === 0 ? Effect.void : Effect.asVoid(sql.unsafe(
    `select sluice.job_wake(sluice.job_fill($1::text[], $2::text[]))`,
    [texts(keyed.map(({ job }) => job.kind)), texts(keyed.map(({ job }) => job.key))]
  ))
}

/** Ends jobs and lets their keys through: one statement, or a transaction when there are keys. */
const endAll = (sql: PgClient.PgClient, worker: number, ended: ReadonlyArray<Ended>): Effect.Effect<number, SqlError> =>
  ended.some(({ job }) => job.key !== null)
    ? sql.withTransaction(Effect.tap(end(sql, worker, ended), () => releaseKeys(sql, ended)))
    : end(sql, worker, ended)

const again = Effect.fnUntraced(function*(sql: PgClient.PgClient, worker: number, jobs: ReadonlyArray<Again>) {
  const rows = yield* sql.unsafe<{ readonly id: bigint }>(againStatement, [
    worker,
    idsOf(jobs),
    attemptsOf(jobs),
    float8s(jobs.map(({ verdict }) => verdict.delayMillis)),
    int4s(jobs.map(({ verdict }) => verdict._tag === "Released" ? 1 : 0)),
    texts(jobs.map(({ verdict }) => verdict._tag === "Retry" ? JSON.stringify(verdict.failure) : null))
  ])
  if (rows.length === jobs.length) return rows.length
  const moved = new Set(rows.map((row) => idOf(row.id)))
  const rest = jobs.filter(({ job }) => !moved.has(job.id)).map(({ job }) => ({
    job,
    verdict: { _tag: "Cancelled" } as const
  }))
  // Only those with a cancellation request are still ours.
  return rows.length + (yield* endAll(sql, worker, rest))
})

/** Settles what is still ours; answers how many that was. */
export const settle = Effect.fnUntraced(function*(
  sql: PgClient.PgClient,
  worker: number,
  settlements: ReadonlyArray<Settlement>
): Effect.fn.Return<number, SqlError> {
  const ended = settlements.filter(isEnded)
  const other = settlements.filter((settlement): settlement is Again => !isEnded(settlement))
  const first = ended.length === 0 ? 0 : yield* endAll(sql, worker, ended)
  return first + (other.length === 0 ? 0 : yield* again(sql, worker, other))
})
