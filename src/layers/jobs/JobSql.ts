import type { SqlError } from "effect/sql/SqlError"
import type { JobId } from "../../services/jobs/Job.ts"
import { JobQueueError } from "../../services/jobs/JobError.ts"
import * as SqlFailure from "../../services/postgres/SqlFailure.ts"
import * as Operation from "../postgres/Operation.ts"

/** The channel of all wake-ups (`w:<queue>`), cancellations (`c:<worker>:<id>`) and probes (`p:<worker>`). */
export const channel = "sluice_jobs"

/** The class of the advisory locks that workers hold on their LISTEN sessions. */
export const workerLockClass = 7210

/** The queue's error for what went wrong in a statement. */
export const fromSqlError = (operation: string) => (error: SqlError): JobQueueError =>
  new JobQueueError({
    operation,
    reason: SqlFailure.reasonOf(error),
    detail: SqlFailure.detailOf(error),
    cause: error
  })

/** Runs statements as one operation of the queue. */
export const operation = (name: string) => Operation.named(fromSqlError(name))

/** An id as the database gave it; checking each of a million would cost more than storing it. */
export const idOf = (id: bigint): JobId => String(id) as JobId
