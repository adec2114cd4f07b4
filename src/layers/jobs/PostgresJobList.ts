/** Lists of jobs whose cost is the page's, whatever the tables hold. */
import type * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { JobFilter, JobPage } from "../../services/jobs/JobStore.ts"
import { dead, infoOf, type JobRow, live, past, states } from "./JobRow.ts"
import { idOf, planned } from "./JobSql.ts"

/** With a filter that no index knows, so many rows of each table are looked at for a page. */
const lookedAtMax = 5_000

/** The rows of one table, what of the filter its indexes know, and the whole filter. */
interface Source {
  readonly rows: string
  readonly indexed: ReadonlyArray<string>
  readonly meant: ReadonlyArray<string>
}

/** The tables that may hold jobs of the filter's state; `named` says the rest of it. */
const sourcesOf = (filter: JobFilter, named: ReadonlyArray<string>): ReadonlyArray<Source> => {
  const state = filter.state === undefined ? undefined : states.indexOf(filter.state)
  const ofState = state === undefined ? [] : [`state = ${state}`]
  const meant = [...named, ...ofState]
  const sources: Array<Source> = []
  if (state === undefined || state < 4) sources.push({ rows: live, indexed: state === 1 ? ofState : [], meant })
  // One of the two names is in an index; the other is looked at.
  if (state === undefined || state === 5) sources.push({ rows: dead, indexed: named.slice(-1), meant: named })
  if (state === undefined || state === 4 || state === 6) sources.push({ rows: past, indexed: [], meant })
  return sources
}

const all = (conditions: ReadonlyArray<string>) => conditions.map((condition) => ` and ${condition}`).join("")

/**
 * So many rows of each table are looked at, newest first; where a table has more, all are told of only down to there: the `floor`, which every row has. A row
 * without an id says that there are no others.
 */
const statementOf = (sources: ReadonlyArray<Source>, before: string, looks: string, limit: string): string => {
  const looked = sources.map(({ indexed, rows }, n) =>
    `t${n} as materialized (select id, queue, kind, state from (${rows}) r
      where id < ${before}::int8${all(indexed)} order by id desc limit ${looks}::int4)`
  )
  const floors = sources.map((_, n) => `select min(id) as id from t${n} having count(*) = ${looks}::int4`)
  const meant = sources.map(({ meant }, n) => `select id, ${n} as n from t${n} where true${all(meant)}`)
  const whole = sources.map(({ rows }, n) => `select * from (${rows}) r where page.n = ${n} and r.id = page.id`)
  return `with ${looked.join(", ")}, floor as materialized (select max(id) as id from (${
    floors.join(" union all ")
  }) f),
    page as materialized (select id, n from (${meant.join(" union all ")}) m
      where id >= coalesce((select id from floor), 0) order by id desc limit ${limit}::int4)
    select r.*, floor.id as floor from floor
    left join (page cross join lateral (select * from (${whole.join(" union all ")}) w limit 1) r) on true
    order by r.id desc`
}

/** The statement of a page and one job more, and its parameters. */
export const pageOf = (filter: JobFilter): readonly [string, ReadonlyArray<unknown>] => {
  const parameters: Array<unknown> = []
  const bind = (value: unknown) => `$${parameters.push(value)}`
  const more = (filter.limit ?? 50) + 1
  const isFiltered = filter.queue !== undefined || filter.kind !== undefined || filter.state !== undefined
  const before = bind(BigInt(filter.before ?? "9223372036854775807"))
  const looks = bind(isFiltered ? lookedAtMax : more)
  const limit = bind(more)
  const named = [
    ...(filter.queue === undefined ? [] : [`queue = ${bind(filter.queue)}::text`]),
    ...(filter.kind === undefined ? [] : [`kind = ${bind(filter.kind)}::text`])
  ]
  return [statementOf(sourcesOf(filter, named), before, looks, limit), parameters]
}

interface ListedRow extends JobRow {
  readonly floor: bigint | null
}

/** Newest first over the three tables. */
export const list = (sql: PgClient.PgClient, filter: JobFilter): Effect.Effect<JobPage, SqlError> =>
  Effect.map(planned(sql, sql.unsafe<ListedRow>(...pageOf(filter))), (rows) => {
    const found = rows.filter((row) => row.id !== null).map(infoOf)
    const jobs = found.slice(0, filter.limit ?? 50)
    const floor = rows[0]?.floor ?? null
    return { jobs, next: found.length > jobs.length ? jobs.at(-1)?.id : floor === null ? undefined : idOf(floor) }
  })
