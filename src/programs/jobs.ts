/** What operators do with jobs: each answers plain data, which `JobsCommand` shows to people or as JSON. */
import { Effect, Option } from "effect"
import type { JobId, JobInfo } from "../services/jobs/Job.ts"
import { JobAdmin } from "../services/jobs/JobAdmin.ts"
import { JobNotFound } from "../services/jobs/JobError.ts"
import { JobQueue } from "../services/jobs/JobQueue.ts"
import type { JobFilter, RedriveFilter } from "../services/jobs/JobStore.ts"
import { Demo } from "./work.ts"

export const list = (filter: JobFilter) => Effect.flatMap(JobAdmin, (admin) => admin.list(filter))

export const show = (id: JobId) =>
  Effect.flatMap(
    JobQueue,
    (queue) =>
      Effect.flatMap(queue.find(id), (info) =>
        Option.match(info, { onNone: () => Effect.fail(new JobNotFound({ id })), onSome: Effect.succeed }))
  )

export const cancel = (ids: ReadonlyArray<JobId>) =>
  Effect.flatMap(
    JobQueue,
    (queue) => Effect.forEach(ids, (id) => Effect.map(queue.cancel(id), (outcome) => ({ id, outcome })))
  )

/** Runs dead letters again; a preview changes nothing. */
export const retry = (
  filter: RedriveFilter,
  options: { readonly rate: number | undefined; readonly preview: boolean }
) =>
  Effect.gen(function*() {
    const admin = yield* JobAdmin
    const { held, matched, sample } = yield* admin.preview(filter)
    if (options.preview) return { preview: true, matched, held, ids: sample.map((info) => info.id) }
    const ids = yield* admin.redrive(filter, options.rate === undefined ? {} : { ratePerSecond: options.rate })
    return { preview: false, matched: ids.length, held, ids }
  })

export const stats = Effect.flatMap(JobAdmin, (admin) => admin.stats)

export const stuck = Effect.flatMap(JobAdmin, (admin) => admin.stuck)

export const pause = (queue: string, paused: boolean) =>
  Effect.flatMap(JobAdmin, (admin) => paused ? admin.pause(queue) : admin.resume(queue))

/** Enqueues jobs of the demonstration kind. */
export const tryOut = (count: number, takesMillis: number, fails: boolean) =>
  Effect.flatMap(JobQueue, (queue) =>
    queue.enqueueMany(
      Demo,
      Array.from({ length: count }, (_, index) => ({ text: `demo ${index + 1}`, takesMillis, fails }))
    ))

const pad = (cells: ReadonlyArray<string>, widths: ReadonlyArray<number>): string =>
  cells.map((cell, index) => index === cells.length - 1 ? cell : cell.padEnd(widths[index] ?? 0)).join("  ").trimEnd()

/** A table for people: columns as wide as their widest cell. */
export const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = head.map((title, index) => Math.max(title.length, ...rows.map((row) => (row[index] ?? "").length)))
  return [head, ...rows].map((row) => pad(row, widths)).join("\n")
}

const clock = (date: Date | null): string => date === null ? "-" : date.toISOString().slice(0, 19).replace("T", " ")

/** One line per job. */
export const jobTable = (jobs: ReadonlyArray<JobInfo>): string =>
  table(
    ["ID", "KIND", "STATE", "TRY", "RUN AT", "ENDED", "WHY"],
    jobs.map((info) => [
      info.id,
      info.kind,
      info.state,
      `${info.attempt}/${info.maxAttempts}`,
      clock(info.runAt),
      clock(info.finishedAt),
      info.failure === null ? "" : `${info.failure.reason}: ${info.failure.message.split("\n")[0] ?? ""}`.slice(0, 80)
    ])
  )

/** Everything about one job. */
export const jobDetails = (info: JobInfo): string =>
  [
    ["id", info.id],
    ["kind", info.kind],
    ["queue", info.queue],
    ["state", info.state],
    ["attempt", `${info.attempt} of ${info.maxAttempts}`],
    ["priority", String(info.priority)],
    ["key", info.key ?? "-"],
    ["worker", info.worker === null ? "-" : String(info.worker)],
    ["enqueued", clock(info.enqueuedAt)],
    ["run at", clock(info.runAt)],
    ["started", clock(info.startedAt)],
    ["ended", clock(info.finishedAt)],
    ["payload", JSON.stringify(info.payload)],
    ["result", JSON.stringify(info.result)],
    ["failure", info.failure === null ? "-" : `${info.failure.reason}: ${info.failure.message}`]
  ].map(([name = "", value = ""]) => `${name.padEnd(9)} ${value}`).join("\n")

/** The counters of each queue. */
export const statsTable = (rows: Effect.Success<typeof stats>): string =>
  table(
    ["QUEUE", "READY", "SCHEDULED", "BLOCKED", "RUNNING", "SUCCEEDED", "CANCELLED", "DEAD", "RETRIED", "OLDEST READY"],
    rows.map((row) => [
      row.paused ? `${row.queue} (paused)` : row.queue,
      ...[row.ready, row.scheduled, row.blocked, row.running, row.succeeded, row.cancelled, row.dead, row.retried].map(
        String
      ),
      row.oldestReadyMillis === undefined ? "-" : `${(row.oldestReadyMillis / 1000).toFixed(1)} s`
    ])
  )

/** Jobs that nobody works on, and who is in the way. */
export const stuckTable = (rows: Effect.Success<typeof stuck>): string =>
  table(
    ["ID", "KIND", "TRY", "WORKER", "LOST AT", "HELD BY"],
    rows.map((row) => [
      row.id,
      row.kind,
      String(row.attempt),
      String(row.worker),
      clock(row.lostAt),
      row.holder === null ? row.doing ?? "-" : `session ${row.holder} (${row.doing ?? "unknown"})`
    ])
  )
