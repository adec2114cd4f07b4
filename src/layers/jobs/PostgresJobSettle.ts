import type * as PgClient from "@effect/sql-pg/PgClient"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { ClaimedJob, Settlement } from "../../services/jobs/JobStore.ts"
import * as Columns from "../postgres/Columns.ts"
import type { ClaimFloors } from "./ClaimFloors.ts"
import { idOf } from "./JobSql.ts"

interface ClaimedRow {
  readonly id: bigint
  readonly queue: string
  readonly kind: string
  readonly attempt: number
  readonly max_attempts: number
  readonly payload: unknown
  readonly enqueued_at: Date
  readonly key: string | null
  readonly floor: string | null
}

const jobOf = (fence: number) => (row: ClaimedRow): ClaimedJob => ({
  id: idOf(row.id),
  fence,
  queue: row.queue,
  kind: row.kind,
  attempt: row.attempt,
  maxAttempts: row.max_attempts,
  payload: row.payload,
  enqueuedAt: row.enqueued_at,
  key: row.key
})

type Requests = ReadonlyArray<{ readonly queue: string; readonly limit: number }>

/** Claims, best first. A claim that fails may have taken jobs all the same, in each of its looks: `giveBackUnknown` gives them back. */
export const claim: (
  sql: PgClient.PgClient,
  worker: number,
  nth: number,
  queues: Requests,
  floors: ClaimFloors
) => Effect.Effect<ReadonlyArray<ClaimedJob>, SqlError> = Effect.fnUntraced(
  function*(sql, worker, nth, queues, floors) {
    const before = yield* Clock.currentTimeMillis
    const from = queues.map(({ queue }) => floors.of(queue, before))
    const isFront = from.every((floor) => floor === undefined)
    const rows = yield* sql.unsafe<ClaimedRow>(
      "select * from sluice.job_claim_from($1, $2, $3, $4, $5::text[]::timestamptz[], $6)",
      [
        worker,
        nth,
        Columns.texts(queues.map((entry) => entry.queue)),
        Columns.ints(queues.map((entry) => entry.limit)),
        Columns.texts(from.map((floor) => floor?.rank ?? "-infinity")),
        Columns.bigints(from.map((floor) => BigInt(floor?.id ?? 0)))
      ]
    )
    const now = yield* Clock.currentTimeMillis
    if (isFront) floors.front(now, now - before, rows.length)
    for (const row of rows) if (row.floor !== null) floors.ended(row.queue, { rank: row.floor, id: String(row.id) })
    const jobs = rows.map(jobOf(nth))
    // Behind the floor there is too little: what is before it is looked at at once.
    const missing = queues.map(({ limit, queue }) => ({
      queue,
      limit: limit - rows.filter((row) => row.queue === queue).length
    })).filter(({ limit }) => limit > 0)
    if (isFront || missing.length === 0) return jobs
    floors.restart()
    return [...jobs, ...(yield* claim(sql, worker, nth, missing, floors))]
  }
)

interface Settled {
  readonly n: number
}

type Ended = Settlement & { readonly verdict: { readonly _tag: "Succeeded" | "Dead" | "Cancelled" } }
type Again = Settlement & { readonly verdict: { readonly _tag: "Retry" | "Released" } }

const isEnded = (settlement: Settlement): settlement is Ended =>
  settlement.verdict._tag !== "Retry" && settlement.verdict._tag !== "Released"

const idsOf = (settlements: ReadonlyArray<Settlement>) => Columns.bigints(settlements.map(({ job }) => BigInt(job.id)))
const fencesOf = (settlements: ReadonlyArray<Settlement>) => Columns.ints(settlements.map(({ job }) => job.fence))

/** Ends jobs; answers how many were still ours. */
const end = (sql: PgClient.PgClient, worker: number, ended: ReadonlyArray<Ended>): Effect.Effect<number, SqlError> => {
  const isBare = ended.every(({ verdict }) =>
    verdict._tag === "Succeeded" && verdict.result === null && verdict.history === "full"
  )
  const rows = isBare
    ? sql.unsafe<Settled>("select sluice.job_succeed($1, $2, $3) as n", [worker, idsOf(ended), fencesOf(ended)])
    : sql.unsafe<Settled>("select sluice.job_end($1, $2, $3, $4, $5, $6, $7) as n", [
      worker,
      idsOf(ended),
      fencesOf(ended),
      Columns.ints(ended.map(({ verdict }) => verdict._tag === "Succeeded" ? 4 : verdict._tag === "Dead" ? 5 : 6)),
      Columns.ints(
        ended.map(({ verdict }) =>
          verdict._tag !== "Succeeded" || verdict.history === "full" ? 0 : verdict.history === "outcome" ? 1 : 2
        )
      ),
      Columns.texts(ended.map(({ verdict }) => verdict._tag === "Succeeded" ? verdict.result : null)),
      Columns.texts(ended.map(({ verdict }) => verdict._tag === "Dead" ? JSON.stringify(verdict.failure) : null))
    ])
  return Effect.map(rows, ([row]) => row?.n ?? 0)
}

/** What waited behind the keys of ended jobs. */
const releaseKeys = (sql: PgClient.PgClient, ended: ReadonlyArray<Ended>): Effect.Effect<void, SqlError> => {
  const keyed = ended.filter(({ job }) => job.key !== null)
  return keyed.length === 0 ? Effect.void : Effect.asVoid(sql.unsafe(
    `select sluice.job_wake(sluice.job_fill($1::text[], $2::text[]))`,
    [Columns.texts(keyed.map(({ job }) => job.kind)), Columns.texts(keyed.map(({ job }) => job.key))]
  ))
}

/** Ends jobs and lets their keys through: one statement, or a transaction when there are keys. */
const endAll = (sql: PgClient.PgClient, worker: number, ended: ReadonlyArray<Ended>): Effect.Effect<number, SqlError> =>
  ended.some(({ job }) => job.key !== null)
    ? sql.withTransaction(Effect.tap(end(sql, worker, ended), () => releaseKeys(sql, ended)))
    : end(sql, worker, ended)

const again = Effect.fnUntraced(function*(sql: PgClient.PgClient, worker: number, jobs: ReadonlyArray<Again>) {
  const rows = yield* sql.unsafe<{ readonly id: bigint }>("select id from sluice.job_again($1, $2, $3, $4, $5, $6)", [
    worker,
    idsOf(jobs),
    fencesOf(jobs),
    Columns.floats(jobs.map(({ verdict }) => verdict.delayMillis)),
    Columns.ints(jobs.map(({ verdict }) => verdict._tag === "Released" ? 1 : 0)),
    Columns.texts(jobs.map(({ verdict }) => verdict._tag === "Retry" ? JSON.stringify(verdict.failure) : null))
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

/** Gives back, unspent, what is claimed for this worker and not among what it knows of: the answer to a claim got lost. */
export const giveBackUnknown = (
  sql: PgClient.PgClient,
  worker: number,
  nth: number,
  known: ReadonlyArray<string>
): Effect.Effect<number, SqlError> =>
  Effect.map(
    sql.unsafe<Settled>("select sluice.job_give_back($1, $2, $3) as n", [
      worker,
      nth,
      Columns.bigints(known.map(BigInt))
    ]),
    ([row]) => row?.n ?? 0
  )
