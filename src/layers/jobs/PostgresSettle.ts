import type * as PgClient from "@effect/sql-pg/PgClient"
import { Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { JobState } from "../../services/jobs/Job.ts"
import type { JobStore, Settlement } from "../../services/jobs/JobStore.ts"
import * as Columns from "../postgres/Columns.ts"
import * as SqlFunction from "../postgres/SqlFunction.ts"

interface Settled {
  readonly settled: number
}

type Ended = Settlement & { readonly verdict: { readonly _tag: "Succeeded" | "Dead" | "Cancelled" } }
type Again = Settlement & { readonly verdict: { readonly _tag: "Retry" | "Released" } }

const isEnded = (settlement: Settlement): settlement is Ended =>
  settlement.verdict._tag !== "Retry" && settlement.verdict._tag !== "Released"

const stateOf: Readonly<Record<Ended["verdict"]["_tag"], JobState>> = {
  Succeeded: "succeeded",
  Dead: "dead",
  Cancelled: "cancelled"
}

const idsOf = (settlements: ReadonlyArray<Settlement>) => Columns.bigints(settlements.map(({ job }) => BigInt(job.id)))
const fencesOf = (settlements: ReadonlyArray<Settlement>) => Columns.ints(settlements.map(({ job }) => job.fence))
const count = Effect.map(([row]: ReadonlyArray<Settled>) => row?.settled ?? 0)

/** Ends jobs and lets their keys through. */
const end = (sql: PgClient.PgClient, worker: number, ended: ReadonlyArray<Ended>): Effect.Effect<number, SqlError> => {
  const isBare = ended.every(({ verdict }) =>
    verdict._tag === "Succeeded" && verdict.result === null && verdict.history === "full"
  )
  if (isBare) {
    return count(
      sql.unsafe<Settled>("select settled from sluice.job_succeed($1, $2, $3)", [worker, idsOf(ended), fencesOf(ended)])
    )
  }
  return count(sql.unsafe<Settled>("select settled from sluice.job_end($1, $2, $3, $4, $5, $6, $7)", [
    worker,
    idsOf(ended),
    fencesOf(ended),
    Columns.texts(ended.map(({ verdict }) => stateOf[verdict._tag])),
    Columns.texts(ended.map(({ verdict }) => verdict._tag === "Succeeded" ? verdict.history : "full")),
    Columns.texts(ended.map(({ verdict }) => verdict._tag === "Succeeded" ? verdict.result : null)),
    Columns.texts(ended.map(({ verdict }) => verdict._tag === "Dead" ? JSON.stringify(verdict.failure) : null))
  ]))
}

/** Lets jobs wait again; one whose cancellation was asked for meanwhile is cancelled instead. */
const again = (sql: PgClient.PgClient, worker: number, jobs: ReadonlyArray<Again>): Effect.Effect<number, SqlError> =>
  count(sql.unsafe<Settled>("select settled from sluice.job_again($1, $2, $3, $4, $5, $6)", [
    worker,
    idsOf(jobs),
    fencesOf(jobs),
    Columns.floats(jobs.map(({ verdict }) => verdict.delayMillis)),
    Columns.booleans(jobs.map(({ verdict }) => verdict._tag === "Released")),
    Columns.texts(jobs.map(({ verdict }) => verdict._tag === "Retry" ? JSON.stringify(verdict.failure) : null))
  ]))

/** Writes how far jobs are that are still ours; answers how many that was. */
export const report = (
  sql: PgClient.PgClient,
  worker: number,
  reports: Parameters<JobStore["Service"]["report"]>[1]
): Effect.Effect<number, SqlError> =>
  Effect.map(
    SqlFunction.call<{ readonly reported: number }>(sql, "job_report", {
      me: worker,
      ids: Columns.bigints(reports.map(({ job }) => BigInt(job.id))),
      fences: Columns.ints(reports.map(({ job }) => job.fence)),
      reports: Columns.texts(reports.map(({ report }) => JSON.stringify(report)))
    }),
    ([row]) => row?.reported ?? 0
  )

/** Settles what is still ours; answers how many that was. */
export const settle = Effect.fnUntraced(function*(
  sql: PgClient.PgClient,
  worker: number,
  settlements: ReadonlyArray<Settlement>
): Effect.fn.Return<number, SqlError> {
  const ended = settlements.filter(isEnded)
  const other = settlements.filter((settlement): settlement is Again => !isEnded(settlement))
  const first = ended.length === 0 ? 0 : yield* end(sql, worker, ended)
  return first + (other.length === 0 ? 0 : yield* again(sql, worker, other))
})
