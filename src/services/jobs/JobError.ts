import { Runtime, Schema } from "effect"
import { isSqlError } from "effect/sql/SqlError"
import * as SqlFailure from "../postgres/SqlFailure.ts"
import { ExitCode } from "../tasks/ExitCode.ts"

/** The largest delay of a job: 100 years. */
export const maxDelayMillis = 100 * 365 * 86_400_000

/**
 * The storage behind the queue did not do what was asked; `reason` is what a caller branches on (see `SqlFailure.Reason`).
 */
export class JobQueueError extends Schema.TaggedError<JobQueueError>()("JobQueueError", {
  operation: Schema.String,
  reason: SqlFailure.Reason,
  /** In the words of the storage. */
  detail: Schema.String,
  cause: Schema.optionalKey(Schema.Defect())
}) {
  override get message() {
    return `Job queue: ${this.operation} failed (${this.reason}): ${this.detail}`
  }
  override get [Runtime.errorExitCode](): number {
    return ExitCode.environment
  }
  /** Whether running the same operation again may succeed. */
  get isRetryable() {
    return this.reason !== "Rejected"
  }
  /** Whether the data is to blame, whoever sends it and when: it can never be stored. */
  get isData() {
    return isSqlError(this.cause) && SqlFailure.isData(this.cause)
  }
}

/** A payload does not fit the schema of its kind, so nothing was enqueued. */
export class JobPayloadInvalid extends Schema.TaggedError<JobPayloadInvalid>()("JobPayloadInvalid", {
  kind: Schema.String,
  issue: Schema.String
}) {
  override get message() {
    return `Payload of job kind "${this.kind}" is invalid: ${this.issue}`
  }
  override get [Runtime.errorExitCode](): number {
    return ExitCode.usage
  }
}

/**
 * An option is not what it may be; nothing was stored. Kinds, handlers and workers throw it where they are made, as it is a mistake of the
 * program there.
 */
export class JobOptionInvalid extends Schema.TaggedError<JobOptionInvalid>()("JobOptionInvalid", {
  /** Where it was given: `Job.make("mail")`, `JobQueue.enqueue`. */
  where: Schema.String,
  option: Schema.String,
  given: Schema.String,
  expected: Schema.String
}) {
  override get message() {
    return `${this.where}: ${this.option} is ${this.given}: expected ${this.expected}`
  }
  override get [Runtime.errorExitCode](): number {
    return ExitCode.usage
  }
}

/** No job, waiting, finished or dead, has this id. */
export class JobNotFound extends Schema.TaggedError<JobNotFound>()("JobNotFound", { id: Schema.String }) {
  override get message() {
    return `No job has the id ${this.id}`
  }
  override get [Runtime.errorExitCode](): number {
    return ExitCode.usage
  }
}

/** The dead letter cannot run again now: of one unique text one job is live at a time. */
export class JobHeldBack extends Schema.TaggedError<JobHeldBack>()("JobHeldBack", { id: Schema.String }) {
  override get message() {
    return `Job ${this.id} stays dead for now: a live job of its kind has the same unique text`
  }
  override get [Runtime.errorExitCode](): number {
    return ExitCode.usage
  }
}

/**
 * The job no longer belongs to this worker: its lease lapsed and another attempt owns it. A transactional or batch
 * handler that meets it has already been rolled back.
 */
export class JobLeaseLost extends Schema.TaggedError<JobLeaseLost>()("JobLeaseLost", {
  ids: Schema.Array(Schema.String)
}) {
  override get message() {
    return `Lease lost on ${this.ids.length} job(s): ${this.ids.slice(0, 5).join(", ")}`
  }
}

/** Failed by a handler: the job is dead-lettered at once, whatever attempts it has left. */
export class JobDiscard extends Schema.TaggedError<JobDiscard>()("JobDiscard", { detail: Schema.String }) {
  override get message() {
    return `Discarded: ${this.detail}`
  }
}

/** Failed by a handler: the job runs again after `delayMillis`, and this attempt is not counted. */
export class JobSnooze extends Schema.TaggedError<JobSnooze>()("JobSnooze", {
  delayMillis: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: maxDelayMillis }))
}) {
  override get message() {
    return `Snoozed for ${this.delayMillis} ms`
  }
}
