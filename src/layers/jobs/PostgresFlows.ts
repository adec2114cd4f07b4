/** Flows in Postgres: one statement stores a tree; what becomes of it happens in the transactions that settle its jobs. */
import type * as PgClient from "@effect/sql-pg/PgClient"
import { Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Child } from "../../services/jobs/FlowChild.ts"
import type { JobId, JobState } from "../../services/jobs/Job.ts"
import type { FlowJob } from "../../services/jobs/JobStore.ts"
import * as Columns from "../postgres/Columns.ts"
import * as SqlFunction from "../postgres/SqlFunction.ts"
import { failureOf } from "./JobRow.ts"
import { idOf } from "./JobSql.ts"

/** Stores the jobs of a flow, all or none; answers their ids in that order. */
export const insert = (
  sql: PgClient.PgClient,
  flow: ReadonlyArray<FlowJob>
): Effect.Effect<ReadonlyArray<JobId>, SqlError> =>
  Effect.map(
    SqlFunction.call<{ readonly ids: ReadonlyArray<bigint> }>(sql, "job_insert_flow", {
      queues: Columns.texts(flow.map(({ job }) => job.queue)),
      kinds: Columns.texts(flow.map(({ job }) => job.kind)),
      payloads: Columns.texts(flow.map(({ job }) => job.payload)),
      priorities: Columns.ints(flow.map(({ job }) => job.priority)),
      attempts: Columns.ints(flow.map(({ job }) => job.maxAttempts)),
      delays: Columns.floats(flow.map(({ job }) => job.delayMillis)),
      ats: Columns.floats(flow.map(({ job }) => job.runAtMillis)),
      keys: Columns.texts(flow.map(({ job }) => job.key)),
      key_limits: Columns.ints(flow.map(({ job }) => job.keyConcurrency)),
      // Places begin with 1 there.
      places: Columns.ints(flow.map(({ parent }) => parent === undefined ? 0 : parent + 1)),
      policies: Columns.texts(flow.map(({ whenChildFails }) => whenChildFails ?? null)),
      tenants: flow.some(({ job }) => (job.tenant ?? null) !== null)
        ? Columns.texts(flow.map(({ job }) => job.tenant ?? null))
        : null
    }),
    ([row]) => (row?.ids ?? []).map(idOf)
  )

interface ChildRow {
  readonly id: bigint
  readonly kind: string
  readonly state: JobState
  readonly result: unknown
  readonly error: unknown
}

/** The children of a job, oldest first. */
export const children = (sql: PgClient.PgClient, parent: JobId): Effect.Effect<ReadonlyArray<Child>, SqlError> =>
  Effect.map(
    SqlFunction.call<ChildRow>(sql, "job_children", { the_id: BigInt(parent) }),
    (rows) =>
      rows.map((row) => ({
        id: idOf(row.id),
        kind: row.kind,
        state: row.state,
        result: row.result,
        failure: failureOf(row.error)
      }))
  )
