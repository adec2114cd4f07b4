/** What operators do with jobs: each answers plain data, which `JobsCommand` shows to people or as JSON. */
import { Effect, Option } from "effect"
import type { JobAttemptFailure, JobId, JobInfo } from "../../services/jobs/Job.ts"
import { JobAdmin } from "../../services/jobs/JobAdmin.ts"
import { JobNotFound } from "../../services/jobs/JobError.ts"
import { JobQueue } from "../../services/jobs/JobQueue.ts"
import type { JobFilter } from "../../services/jobs/JobStore.ts"
import type { RedriveFilter } from "../../services/jobs/Redrive.ts"
import * as Table from "../terminal/Table.ts"
import { Demo } from "../work/DemoWorker.ts"

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

const clock = (date: Date | null): string => date === null ? "-" : date.toISOString().slice(0, 19).replace("T", " ")

/** One line per job. */
export const jobTable = (jobs: ReadonlyArray<JobInfo>): ReadonlyArray<string> =>
  Table.lines(
    ["id", "kind", "state", "try", "run at", "ended", "why"].map(Table.left),
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

const progressText = (progress: JobInfo["progress"]): string =>
  progress === null
    ? "-"
    : [
      ...(progress.fraction === null ? [] : [`${Math.round(progress.fraction * 100)} %`]),
      ...(progress.detail === null ? [] : [JSON.stringify(progress.detail)]),
      `(attempt ${progress.attempt}, ${clock(progress.at)})`
    ].join(" ")

/** Everything about one job. */
export const jobDetails = (info: JobInfo): ReadonlyArray<string> =>
  Table.pairs([
    ["id", info.id],
    ["kind", info.kind],
    ["queue", info.queue],
    ["state", info.state],
    ["attempt", `${info.attempt} of ${info.maxAttempts}`],
    ["priority", String(info.priority)],
    ["key", info.key ?? "-"],
    ["tenant", info.tenant ?? "-"],
    ["worker", info.worker === null ? "-" : String(info.worker)],
    ["enqueued", clock(info.enqueuedAt)],
    ["run at", clock(info.runAt)],
    ["started", clock(info.startedAt)],
    ["ended", clock(info.finishedAt)],
    ["progress", progressText(info.progress)],
    ["payload", JSON.stringify(info.payload)],
    ["result", JSON.stringify(info.result)],
    ["failures", info.failures.length === 0 ? "-" : ""]
  ]).concat(info.failures.flatMap(failureLines))

/** Why one attempt failed, the trace below it. */
const failureLines = ({ at, attempt, message, reason, trace }: JobAttemptFailure): ReadonlyArray<string> => [
  `  attempt ${attempt}, ${clock(at)}: ${reason}: ${message.replaceAll("\n", "\n    ")}`,
  ...(trace === undefined ? [] : trace.split("\n").map((line) => `    ${line}`))
]

const counters = [
  "ready",
  "scheduled",
  "blocked",
  "waiting",
  "running",
  "succeeded",
  "cancelled",
  "dead",
  "retried"
] as const

/** The counters of each queue. */
export const statsTable = (rows: Effect.Success<typeof stats>): ReadonlyArray<string> =>
  Table.lines(
    [Table.left("queue"), ...counters.map(Table.right), Table.right("oldest ready")],
    rows.map((row) => [
      row.paused ? `${row.queue} (paused)` : row.queue,
      ...counters.map((counter) => String(row[counter])),
      row.oldestReadyMillis === undefined ? "-" : `${(row.oldestReadyMillis / 1000).toFixed(1)} s`
    ])
  )

/** Jobs that nobody works on, and who is in the way. */
export const stuckTable = (rows: Effect.Success<typeof stuck>): ReadonlyArray<string> =>
  Table.lines(
    ["id", "kind", "try", "worker", "lost at", "held by"].map(Table.left),
    rows.map((row) => [
      row.id,
      row.kind,
      String(row.attempt),
      String(row.worker),
      clock(row.lostAt),
      row.holder === null ? row.doing ?? "-" : `session ${row.holder} (${row.doing ?? "unknown"})`
    ])
  )
