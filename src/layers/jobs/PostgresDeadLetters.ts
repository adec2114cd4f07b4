/** Dead letters: what a redrive would take, and the redrive. Both choose by the same function, `sluice.job_redrivable`. */
import type * as PgClient from "@effect/sql-pg/PgClient"
import { Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { JobId } from "../../services/jobs/Job.ts"
import type { RedriveFilter, RedrivePreview } from "../../services/jobs/Redrive.ts"
import * as Columns from "../postgres/Columns.ts"
import { infoOf, type JobRow } from "./JobRow.ts"
import { idOf } from "./JobSql.ts"

const parametersOf = (filter: RedriveFilter): ReadonlyArray<unknown> => [
  filter.queue ?? null,
  filter.kind ?? null,
  filter.reason ?? null,
  filter.ids === undefined ? null : Columns.bigints(filter.ids.map(BigInt)),
  filter.limit ?? 1000
]

interface Previewed {
  readonly matched: number
  readonly held: number
  readonly first: ReadonlyArray<bigint> | null
}

/** The statement of a preview and its parameters. */
export const previewOf = (filter: RedriveFilter): readonly [string, ReadonlyArray<unknown>] => [
  "select matched, held, first from sluice.job_preview($1, $2, $3, $4, $5)",
  parametersOf(filter)
]

/** What a redrive with this filter would take now. */
export const preview = (sql: PgClient.PgClient, filter: RedriveFilter): Effect.Effect<RedrivePreview, SqlError> =>
  Effect.gen(function*() {
    const [row] = yield* sql.unsafe<Previewed>(...previewOf(filter))
    const sample = yield* sql.unsafe<JobRow>(
      "select * from sluice.job_all where lies = 'dead' and id = any ($1) order by id",
      [Columns.bigints(row?.first ?? [])]
    )
    return { matched: row?.matched ?? 0, held: row?.held ?? 0, sample: sample.map(infoOf) }
  })

/** Makes dead letters live again, oldest first; answers which. */
export const redrive = (
  sql: PgClient.PgClient,
  filter: RedriveFilter,
  ratePerSecond: number | undefined
): Effect.Effect<ReadonlyArray<JobId>, SqlError> =>
  Effect.map(
    sql.unsafe<{ readonly ids: ReadonlyArray<bigint> | null }>(
      "select ids from sluice.job_redrive($1, $2, $3, $4, $5, $6)",
      [...parametersOf(filter), ratePerSecond ?? null]
    ),
    ([row]) => (row?.ids ?? []).map(idOf)
  )
