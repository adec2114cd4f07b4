import { Context, type Effect, type Queue, type Scope } from "effect"
import type { Child, WhenChildFails } from "./FlowChild.ts"
import type { JobEvent, JobFailure, JobId, JobInfo } from "./Job.ts"
import type { Changed, ChangeFilter, ChangePreview, JobChange } from "./JobChange.ts"
import type { JobLeaseLost, JobQueueError } from "./JobError.ts"
import type { RedriveFilter, RedrivePreview } from "./Redrive.ts"
import type { Report } from "./Report.ts"

/** A job about to be stored. Times are delays, so that only the store's own clock counts. */
export interface NewJob {
  readonly queue: string
  readonly kind: string
  /** JSON text. */
  readonly payload: string
  readonly priority: number
  readonly maxAttempts: number
  readonly delayMillis: number
  /** Absolute epoch milliseconds; wins over `delayMillis`. */
  readonly runAtMillis: number | null
  readonly unique: string | null
  /** What becomes of the live job that has the unique text. @default "keep" */
  readonly whenUnique?: "keep" | "replace" | "debounce"
  readonly key: string | null
  readonly keyConcurrency: number
  /** Whose job it is: those of a queue take turns. */
  readonly tenant?: string | null
}

/** What became of a job that was to be enqueued, and the id of the one that is live now. */
export interface Offered {
  readonly id: JobId
  readonly outcome: "inserted" | "kept" | "replaced"
}

/** A job of a flow. */
export interface FlowJob {
  readonly job: NewJob
  /** The place of its parent, which stands behind it. */
  readonly parent: number | undefined
  /** Of a job that has children. */
  readonly whenChildFails: WhenChildFails | undefined
}

/**
 * A job that now belongs to a worker. (`id`, worker, `fence`) is the fence of everything done with it: it never comes
 * again, unlike the number of an attempt, which a worker may give back.
 */
export interface ClaimedJob {
  readonly id: JobId
  /** The number of the claim that took it, among those of its worker. */
  readonly fence: number
  readonly queue: string
  readonly kind: string
  readonly attempt: number
  readonly maxAttempts: number
  readonly payload: unknown
  readonly enqueuedAt: Date
  readonly key: string | null
}

/** How an attempt ended. */
export type Verdict =
  /** `history` is what of it is kept; `result` is JSON text. */
  | { readonly _tag: "Succeeded"; readonly result: string | null; readonly history: "full" | "outcome" | "none" }
  | { readonly _tag: "Retry"; readonly delayMillis: number; readonly failure: JobFailure }
  | { readonly _tag: "Dead"; readonly failure: JobFailure }
  | { readonly _tag: "Cancelled" }
  /** The attempt is given back: not counted. */
  | { readonly _tag: "Released"; readonly delayMillis: number }

/** A verdict on a claimed job. */
export interface Settlement {
  readonly job: ClaimedJob
  readonly verdict: Verdict
}

/** What the store tells a worker. */
export type Signal =
  | { readonly _tag: "Wake" }
  | { readonly _tag: "Cancel"; readonly id: JobId }

/** What one heartbeat found. */
export interface Beat {
  /** False: the fleet declared this worker dead and its jobs are no longer its own. */
  readonly alive: boolean
  /** How many workers this beat declared dead. */
  readonly deadWorkers: number
  /** Workers that left or were declared dead by any worker, and still have jobs to be taken back. */
  readonly lost: ReadonlyArray<number>
  /** Scheduled jobs are due, and to be made ready. */
  readonly isDue: boolean
  /** Milliseconds until the next one is; undefined when there is none. */
  readonly nextDueMillis: number | undefined
  /** Running jobs of this worker that someone asked to cancel. */
  readonly cancelled: ReadonlyArray<JobId>
}

/** What was done for the whole fleet. */
export interface Chores {
  /** Jobs of lost workers that went back to waiting. */
  readonly recovered: number
  /** Those that cannot be taken back yet: somebody has them locked. */
  readonly held: number
  readonly nextDueMillis: number | undefined
}

/** A worker as the fleet knows it. */
export interface Membership {
  readonly worker: number
  readonly signals: Queue.Dequeue<Signal>
  /** Announces that this worker sleeps (enqueueing then wakes it) or is busy. */
  readonly idle: (idle: boolean) => Effect.Effect<void, JobQueueError>
  /** Says that this worker lives. It waits for nobody, however busy handlers keep the store. */
  readonly beat: Effect.Effect<Beat, JobQueueError>
  /** Takes back the jobs of lost workers, and makes due jobs ready when some are. */
  readonly tend: (lost: ReadonlyArray<number>, isDue: boolean) => Effect.Effect<Chores, JobQueueError>
}

/** How a worker joins the fleet. */
export interface JoinOptions {
  readonly queues: ReadonlyArray<string>
  readonly label: string
  /** A worker that has not beaten for so long is dead. */
  readonly leaseMillis: number
  readonly beatMillis: number
}

/** What the store puts an end to by itself, in milliseconds. */
export interface TransactionLimits {
  /** A pause between statements: so that a frozen worker holds no locks. */
  readonly idle: number
  /** A wait for a lock, which is then a `Conflict`; 0 for no limit. */
  readonly lock: number
}

/** A job that is enqueued on each tick of a cron expression. */
export interface CronEntry {
  readonly name: string
  /** Changes whenever schedule or time zone do: the next tick is then computed anew. */
  readonly signature: string
  readonly job: NewJob
  /** The first tick after an instant, both in epoch milliseconds of the store's clock; see `JobCron.nextTick`. */
  readonly next: (afterMillis: number) => number
}

/**
 * What job storage can do: the seam between the one implementation of queue and worker, and Postgres or memory. Library
 * users meet `JobQueue`, `JobAdmin` and `JobWorker` instead.
 */
export class JobStore extends Context.Service<JobStore, {
  /** Stores jobs, in the caller's transaction when there is one; a unique job that is already live answers its id. */
  readonly insert: (jobs: ReadonlyArray<NewJob>) => Effect.Effect<ReadonlyArray<JobId>, JobQueueError>
  /** Stores one job like `insert`, and says whether that, or another one with its unique text, is live now. */
  readonly offer: (job: NewJob) => Effect.Effect<Offered, JobQueueError>
  /** Stores the jobs of a flow, children before their parent, in the caller's transaction when there is one. */
  readonly insertFlow: (jobs: ReadonlyArray<FlowJob>) => Effect.Effect<ReadonlyArray<JobId>, JobQueueError>
  /** Runs an effect in one transaction: what it inserts, settles and writes happens together or not at all. */
  readonly transact: <A, E, R>(
    effect: Effect.Effect<A, E, R>,
    limits?: TransactionLimits
  ) => Effect.Effect<A, E | JobQueueError, R>
  /**
   * Takes up to `limit` ready jobs of each queue, best first. A queue that is paused or has used up its rate gives
   * none, and a worker that left or was declared dead gets none. A worker numbers its claims, from 1: `nth` is the
   * fence of the jobs that this one takes.
   */
  readonly claim: (
    worker: number,
    nth: number,
    queues: ReadonlyArray<{ readonly queue: string; readonly limit: number }>
  ) => Effect.Effect<ReadonlyArray<ClaimedJob>, JobQueueError>
  /** Settles what is still ours, and answers how many were not: their lease is lost. */
  readonly settle: (
    worker: number,
    settlements: ReadonlyArray<Settlement>
  ) => Effect.Effect<number, JobQueueError>
  /**
   * Writes how far jobs are, of those that still belong to this worker and that nobody is settling, while it is a member; answers how many
   * were.
   */
  readonly report: (
    worker: number,
    reports: ReadonlyArray<{ readonly job: ClaimedJob; readonly report: Report }>
  ) => Effect.Effect<number, JobQueueError>
  /** Settles in the caller's transaction, all or nothing. */
  readonly settleAll: (
    worker: number,
    settlements: ReadonlyArray<Settlement>
  ) => Effect.Effect<void, JobQueueError | JobLeaseLost>
  /**
   * Gives back the jobs that this worker's claims up to the `nth` took and that are not among `known`; no attempt is counted. Refuses those
   * claims from now on: one may have been committed although its answer got lost, or may only come later. Answers how many jobs.
   */
  readonly giveBackUnknown: (
    worker: number,
    nth: number,
    known: ReadonlyArray<JobId>
  ) => Effect.Effect<number, JobQueueError>
  /** Joins the fleet until the scope closes. */
  readonly join: (options: JoinOptions) => Effect.Effect<Membership, JobQueueError, Scope.Scope>
  /**
   * Enqueues every due tick once over all processes; answers how many were. When workers have different timetables of one name, that of the
   * worker that joined last holds. An entry that cannot be enqueued, or that has no next tick, is logged once and leaves the others alone.
   */
  readonly tick: (worker: number, entries: ReadonlyArray<CronEntry>) => Effect.Effect<number, JobQueueError>
}>()("sluice/services/jobs/JobStore") {}

/** Which jobs an operator means. */
export interface JobFilter {
  readonly queue?: string
  readonly kind?: string
  readonly state?: JobInfo["state"]
  /** Only ids below this one: the `next` of the page before. */
  readonly before?: JobId
  /** @default 50, at most 1000 */
  readonly limit?: number
}

/**
 * Jobs, newest first. A store looks at a bounded number of jobs: when few of them match, a page is short, or empty, and
 * yet not the last.
 */
export interface JobPage {
  readonly jobs: ReadonlyArray<JobInfo>
  /** Everything down to this id has been looked at: `before` of the next page. Undefined when nothing is left. */
  readonly next: JobId | undefined
}

/** The counters of one queue: exact, and cheap at any size. */
export interface QueueStats {
  readonly queue: string
  readonly paused: boolean
  readonly ready: number
  readonly scheduled: number
  readonly blocked: number
  readonly waiting: number
  readonly running: number
  readonly succeeded: number
  readonly cancelled: number
  readonly dead: number
  /** Attempts that failed and were scheduled again, since the beginning. */
  readonly retried: number
  /** Age of the job that would be claimed next; undefined when none is ready. */
  readonly oldestReadyMillis: number | undefined
}

/**
 * A job that is running for nobody, since its worker is lost. The next heartbeat of any worker takes it back, unless
 * somebody has it locked: then it stays as long as that takes.
 */
export interface StuckJob {
  readonly id: JobId
  readonly queue: string
  readonly kind: string
  readonly attempt: number
  readonly worker: number
  readonly startedAt: Date | null
  /** When its worker left or was declared dead; null when there is none of that number. */
  readonly lostAt: Date | null
  /** The process id of the database session that has it locked, and what that does; null where nobody has, or it cannot be told. */
  readonly holder: number | null
  readonly doing: string | null
}

/** What operators and observers ask of job storage; `JobAdmin` and `JobQueue` are built on it. */
export class JobRecords extends Context.Service<JobRecords, {
  readonly find: (id: JobId) => Effect.Effect<JobInfo | undefined, JobQueueError>
  /** Waits until it is worth looking again whether a live job has ended: in memory until it has, in a database for a moment. */
  readonly mayHaveEnded: (id: JobId) => Effect.Effect<void>
  readonly list: (filter: JobFilter) => Effect.Effect<JobPage, JobQueueError>
  readonly stats: Effect.Effect<ReadonlyArray<QueueStats>, JobQueueError>
  /** The first hundred. */
  readonly stuck: Effect.Effect<ReadonlyArray<StuckJob>, JobQueueError>
  readonly cancel: (id: JobId) => Effect.Effect<"cancelled" | "requested" | "finished" | "unknown", JobQueueError>
  readonly configure: (
    queue: string,
    settings: { readonly paused?: boolean; readonly ratePerSecond?: number | null }
  ) => Effect.Effect<void, JobQueueError>
  readonly preview: (filter: RedriveFilter) => Effect.Effect<RedrivePreview, JobQueueError>
  /** Makes dead letters live again, oldest first, with fresh attempts, the n-th delayed by n / `ratePerSecond`. */
  readonly redrive: (
    filter: RedriveFilter,
    ratePerSecond: number | undefined
  ) => Effect.Effect<ReadonlyArray<JobId>, JobQueueError>
  readonly previewChange: (filter: ChangeFilter, change: JobChange) => Effect.Effect<ChangePreview, JobQueueError>
  /** Changes those that nobody has locked, in one transaction. */
  readonly change: (
    filter: ChangeFilter,
    change: JobChange
  ) => Effect.Effect<Pick<Changed, "ids" | "busy">, JobQueueError>
  /** The children of a job, oldest first. */
  readonly children: (parent: JobId) => Effect.Effect<ReadonlyArray<Child>, JobQueueError>
  /** What ended after a cursor, oldest first; the cursor to ask with next time. */
  readonly ended: (
    cursor: string | undefined
  ) => Effect.Effect<{ readonly cursor: string; readonly events: ReadonlyArray<JobEvent> }, JobQueueError>
}>()("sluice/services/jobs/JobRecords") {}
