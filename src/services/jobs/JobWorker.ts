import { Context, type Duration, type Effect } from "effect"
import type { CronEntry } from "./JobStore.ts"

/** What one worker is doing right now. */
export interface WorkerStatus {
  readonly label: string
  /** Jobs whose handler is running. */
  readonly running: number
  /** Jobs claimed and not yet started. */
  readonly buffered: number
  /** Attempts ended since the worker started. */
  readonly settled: number
  /** Settles that were refused because the lease was lost. */
  readonly lost: number
  readonly draining: boolean
  /** For how long it has had room for jobs and no answer to a claim; about the poll's length at most while all is well. */
  readonly claimStalledMillis: number
  readonly leaseMillis: number
}

/** How a worker works. */
export interface WorkerOptions {
  /** Handlers (or batches) at the same time, at most 10000. @default 20 */
  readonly concurrency?: number
  /** Transactions of transactional and batch handlers at the same time, within `concurrency`; each holds a connection. @default 4 */
  readonly transactions?: number
  /** Jobs claimed in one statement at most. @default 1000 */
  readonly maxClaim?: number
  /** A worker that has not beaten for so long is declared dead by the others; at least three beats. @default 4 seconds */
  readonly lease?: Duration.Input
  /**
   * Time between heartbeats; they also find dead workers and due jobs.
   * @default 500 millis, or an eighth of the lease if that is shorter
   */
  readonly beat?: Duration.Input
  /** How often an idle worker looks without being woken. @default 1 second */
  readonly poll?: Duration.Input
  /**
   * How long a drain waits for running handlers before it interrupts them, how long it then waits again, and how long those that cannot be
   * interrupted still have (a second at least) before they are left behind. @default 10 seconds
   */
  readonly drainGrace?: Duration.Input
  /** What to enqueue on a timetable; see `JobCron.make`. */
  readonly crons?: ReadonlyArray<CronEntry>
  /** How the worker is shown to operators. @default "worker" */
  readonly label?: string
}

/** A worker of this process: claims, runs and settles until its layer is closed. */
export class JobWorker extends Context.Service<JobWorker, {
  readonly status: Effect.Effect<WorkerStatus>
  /**
   * Stops claiming, gives back what has not started, lets handlers finish for the grace period, then interrupts them and
   * gives their attempts back. Closing the layer does the same.
   */
  readonly drain: Effect.Effect<void>
  /** Waits until this worker finds nothing more to do. For tests and one-shot runs. */
  readonly idle: Effect.Effect<void>
}>()("sluice/services/jobs/JobWorker") {}
