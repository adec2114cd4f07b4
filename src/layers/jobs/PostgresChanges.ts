/** What operators change of waiting jobs: preview and change choose by the same function, `sluice.job_changeable`. */
import type * as PgClient from "@effect/sql-pg/PgClient"
import { Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import {
  type Changed,
  type ChangeFilter,
  type ChangePreview,
  type JobChange,
  timeOf
} from "../../services/jobs/JobChange.ts"
import * as Columns from "../postgres/Columns.ts"
import * as SqlFunction from "../postgres/SqlFunction.ts"
import { infoOf, type JobRow } from "./JobRow.ts"
import { idOf } from "./JobSql.ts"

const names: Readonly<Record<JobChange["_tag"], string>> = {
  RunNow: "run-now",
  Priority: "priority",
  Reschedule: "reschedule",
  Delete: "delete"
}

const filterOf = (filter: ChangeFilter): SqlFunction.Arguments => ({
  of_queue: filter.queue ?? null,
  of_kind: filter.kind ?? null,
  of_state: filter.state ?? null,
  of_ids: filter.ids === undefined ? null : Columns.bigints(filter.ids.map(BigInt)),
  most: filter.limit ?? 1000
})

const sampleSize = 10

/** What this change would take now. */
export const preview = (
  sql: PgClient.PgClient,
  filter: ChangeFilter,
  change: JobChange
): Effect.Effect<ChangePreview, SqlError> =>
  Effect.gen(function*() {
    const rows = yield* SqlFunction.call<{ readonly id: bigint }>(sql, "job_changeable", {
      what: names[change._tag],
      ...filterOf(filter)
    })
    const first = Columns.bigints(rows.slice(0, sampleSize).map(({ id }) => id))
    const sample = yield* sql.unsafe<JobRow>(
      "select * from sluice.job_all where lies <> 'ended' and id = any ($1) order by id",
      [first]
    )
    return { matched: rows.length, sample: sample.map(infoOf) }
  })

interface Row {
  readonly ids: ReadonlyArray<bigint> | null
  readonly busy: number
}

/** The arguments of one change. */
const changeOf = (change: JobChange): SqlFunction.Arguments => {
  const to = change._tag === "Reschedule" ? timeOf(change.to) : { delayMillis: null, runAtMillis: null }
  return {
    what: names[change._tag],
    new_priority: change._tag === "Priority" ? change.priority : null,
    delay: to.delayMillis,
    at: to.runAtMillis
  }
}

/** Changes them, or those of them that nobody has locked. */
export const change = (
  sql: PgClient.PgClient,
  filter: ChangeFilter,
  change: JobChange
): Effect.Effect<Pick<Changed, "ids" | "busy">, SqlError> =>
  Effect.map(
    change._tag === "Delete"
      ? SqlFunction.call<Row>(sql, "job_delete", filterOf(filter))
      : SqlFunction.call<Row>(sql, "job_change", { ...filterOf(filter), ...changeOf(change) }),
    ([row]) => ({ ids: (row?.ids ?? []).map(idOf), busy: row?.busy ?? 0 })
  )
