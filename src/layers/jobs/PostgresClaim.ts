import type * as PgClient from "@effect/sql-pg/PgClient"
import { Clock, Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { ClaimedJob, JobStore } from "../../services/jobs/JobStore.ts"
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

type Queues = Parameters<JobStore["Service"]["claim"]>[2]

/** Whose claim it is: the worker's so many-th. */
export interface Claim {
  readonly worker: number
  readonly nth: number
}

/** Claims, best first. A claim that fails may have taken jobs all the same, in each of its looks: `giveBackUnknown` gives them back. */
export const claim: (
  sql: PgClient.PgClient,
  by: Claim,
  queues: Queues,
  floors: ClaimFloors
) => Effect.Effect<ReadonlyArray<ClaimedJob>, SqlError> = Effect.fnUntraced(
  function*(sql, by, queues, floors) {
    const before = yield* Clock.currentTimeMillis
    const from = queues.map(({ queue }) => floors.of(queue, before))
    const isFront = from.every((floor) => floor === undefined)
    const rows = yield* sql.unsafe<ClaimedRow>(
      "select * from sluice.job_claim($1, $2, $3, $4, $5::text[]::timestamptz[], $6)",
      [
        by.worker,
        by.nth,
        Columns.texts(queues.map((entry) => entry.queue)),
        Columns.ints(queues.map((entry) => entry.limit)),
        Columns.texts(from.map((floor) => floor?.rank ?? "-infinity")),
        Columns.bigints(from.map((floor) => BigInt(floor?.id ?? 0)))
      ]
    )
    const now = yield* Clock.currentTimeMillis
    if (isFront) floors.front(now, now - before, rows.length)
    for (const row of rows) if (row.floor !== null) floors.ended(row.queue, { rank: row.floor, id: String(row.id) })
    const jobs = rows.map(jobOf(by.nth))
    // Behind the floor there is too little: what is before it is looked at at once.
    const missing = queues.map(({ limit, queue }) => ({
      queue,
      limit: limit - rows.filter((row) => row.queue === queue).length
    })).filter(({ limit }) => limit > 0)
    if (isFront || missing.length === 0) return jobs
    floors.restart()
    return [...jobs, ...(yield* claim(sql, by, missing, floors))]
  }
)

/** Gives back, unspent, what is claimed for this worker and not among what it knows of: the answer to a claim got lost. */
export const giveBackUnknown = (
  sql: PgClient.PgClient,
  by: Claim,
  known: ReadonlyArray<string>
): Effect.Effect<number, SqlError> =>
  Effect.map(
    sql.unsafe<{ readonly given: number }>("select given from sluice.job_give_back($1, $2, $3)", [
      by.worker,
      by.nth,
      Columns.bigints(known.map(BigInt))
    ]),
    ([row]) => row?.given ?? 0
  )
