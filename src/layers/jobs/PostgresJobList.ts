/** Lists of jobs whose cost is the page's, whatever the tables hold. */
import type * as PgClient from "@effect/sql-pg/PgClient"
import { Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { JobFilter, JobPage } from "../../services/jobs/JobStore.ts"
import { infoOf, type JobRow } from "./JobRow.ts"
import { idOf } from "./JobSql.ts"

/** With a filter that no index knows, so many rows of each table are looked at for a page. */
const lookedAtMax = 5_000
const lastId = 9_223_372_036_854_775_807n

/** The statement of a page and one job more, and its parameters. */
export const pageOf = (filter: JobFilter): readonly [string, ReadonlyArray<unknown>] => {
  const more = (filter.limit ?? 50) + 1
  const isFiltered = filter.queue !== undefined || filter.kind !== undefined || filter.state !== undefined
  return ["select * from sluice.job_page($1, $2, $3, $4::text::sluice.job_state, $5, $6)", [
    filter.before === undefined ? lastId : BigInt(filter.before),
    filter.queue ?? null,
    filter.kind ?? null,
    filter.state ?? null,
    more,
    isFiltered ? lookedAtMax : more
  ]]
}

interface ListedRow extends JobRow {
  readonly floor: bigint | null
}

/** Newest first over the three tables. */
export const list = (sql: PgClient.PgClient, filter: JobFilter): Effect.Effect<JobPage, SqlError> =>
  Effect.map(sql.unsafe<ListedRow>(...pageOf(filter)), (rows) => {
    const found = rows.filter((row) => row.id !== null).map(infoOf)
    const jobs = found.slice(0, filter.limit ?? 50)
    const floor = rows[0]?.floor ?? null
    return { jobs, next: found.length > jobs.length ? jobs.at(-1)?.id : floor === null ? undefined : idOf(floor) }
  })
