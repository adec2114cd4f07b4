/**
 * The frontier: which URLs a run still has to fetch, which it has, and what became of each. PENDING -> LEASED -> DONE | FAILED.
 *
 * Several processes may share a run. A host is worked on by one of them at a time, so that limits per host hold across
 * processes without any talk between them. A process that dies loses its leases within five seconds; what it settles later
 * is refused.
 *
 * What is known of a host (`HostState`: blocks, a learned limit, an open circuit) belongs to the host and not to the run: it comes with
 * outcomes, is kept with them, and is given to whoever works on that host next, in this run or another. The latest word counts, but
 * no word ends a block before its time. It is forgotten an hour after the last word or the block's end.
 */
import type { Duration, Effect, Scope, Stream } from "effect"
import { Context, Runtime, Schema } from "effect"
import { isSqlError } from "effect/sql/SqlError"
import * as SqlFailure from "../postgres/SqlFailure.ts"
import { ExitCode } from "../tasks/ExitCode.ts"
import type { Fetched } from "./Fetcher.ts"
import type { FetchOutcome } from "./FetchOutcome.ts"
import type { FetchTarget } from "./FetchRequest.ts"
import type { FetchSource } from "./FetchSource.ts"
import * as StatusRange from "./StatusRange.ts"

/** A run's name: 1 to 200 letters, digits, `.`, `_`, `-`, `:`. */
export const RunName = Schema.String.check(
  Schema.isPattern(/^[A-Za-z0-9._:-]{1,200}$/u, { description: "1 to 200 letters, digits, `.`, `_`, `-` or `:`." })
)

/** Exact counts of a run. */
export const RunCounts = Schema.Struct({
  /** Neither leased nor recorded for good, `deferred` ones included. */
  pending: Schema.Int,
  leased: Schema.Int,
  done: Schema.Int,
  failed: Schema.Int,
  /** Of those pending: may not be asked before the `retryAt` of their error (`RetryAfterTooLong`, `HostThrottled`, `RobotsUnreachable`). */
  deferred: Schema.Int
})

/** Exact counts of a run. */
export type RunCounts = typeof RunCounts.Type

/** How many outcomes of a run ended how; `tag` is `null` for success. */
export const TagCount = Schema.Struct({ tag: Schema.NullOr(Schema.String), count: Schema.Int })

/** How many outcomes of a run ended how. */
export type TagCount = typeof TagCount.Type

/** A run as `sluice runs` lists it. */
export const RunSummary = Schema.Struct({
  name: Schema.String,
  /** ISO 8601, UTC. */
  createdAt: Schema.String,
  /** ISO 8601, UTC: when it was last added to, or a process last worked on it. */
  updatedAt: Schema.String,
  counts: RunCounts
})

/** A run as `sluice runs` lists it. */
export type RunSummary = typeof RunSummary.Type

/** The store of a frontier cannot be used. Of a reason that may pass, it was tried again for as long as the store's patience. */
export class FrontierError extends Schema.TaggedError<FrontierError>()("FrontierError", {
  operation: Schema.String,
  reason: SqlFailure.Reason,
  cause: Schema.Defect(),
  /** How long it was waited for. */
  triedMillis: Schema.optionalKey(Schema.Finite)
}) {
  override get message(): string {
    if (this.cause instanceof RunNotFound) return `run ${this.cause.name} was removed while this process worked on it`
    const detail = isSqlError(this.cause)
      ? SqlFailure.detailOf(this.cause)
      : this.cause instanceof Error
      ? this.cause.message
      : ""
    const tried = this.triedMillis === undefined ? "" : `, for ${Math.round(this.triedMillis / 1000)} s`
    const full = isSqlError(this.cause) && SqlFailure.codeOf(this.cause) === "53100"
      ? "; its disk is full (ENOSPC)"
      : ""
    return `the run's database failed at ${this.operation}${tried}${detail === "" ? "" : `: ${detail}`}${full}`
  }
  override get [Runtime.errorExitCode](): number {
    return ExitCode.environment
  }
}

/** There is no run of that name. */
export class RunNotFound extends Schema.TaggedError<RunNotFound>()("RunNotFound", { name: Schema.String }) {
  override get message(): string {
    return `there is no run named ${JSON.stringify(this.name)}`
  }
  override get [Runtime.errorExitCode](): number {
    return ExitCode.usage
  }
}

/** What an operation on an open run fails with when the run was removed meanwhile. */
export const removed = (operation: string, name: string): FrontierError =>
  new FrontierError({ operation, reason: "Rejected", cause: new RunNotFound({ name }) })

/** Processes work on the run: it is not removed under their hands. */
export class RunBusy extends Schema.TaggedError<RunBusy>()("RunBusy", { name: Schema.String, processes: Schema.Int }) {
  override get message(): string {
    return `run ${this.name} is worked on by ${this.processes === 1 ? "a process" : `${this.processes} processes`} now`
  }
  override get [Runtime.errorExitCode](): number {
    return ExitCode.usage
  }
}

/** What whoever began a run, or went on with it, has noted with it: JSON by name. A frontier keeps it and does not look into it. */
export type RunNotes = Schema.JsonObject

/** Which outcomes of a run to read: those that meet every condition. */
export interface OutcomeFilter {
  /** Only failures, deferred ones included. */
  readonly failed?: boolean | undefined
  /** Only failures of this tag. */
  readonly tag?: string | undefined
  /** Only those whose last response had such a status. */
  readonly status?: StatusRange.StatusRange | undefined
  /** Only this host (and port, as in the canonical URL). */
  readonly host?: string | undefined
}

/** What came of adding targets. */
export interface Added {
  /** So many were new to the run. */
  readonly fresh: number
  /** So many repeat others that were added since this process opened the run; the rest was known to it before. */
  readonly repeated: number
}

/** One open run: the handle through which a process adds to it, works on it and reads it. */
export interface Run {
  readonly name: string
  /** What was noted with the run when this process had opened it. */
  readonly notes: RunNotes
  /**
   * Adds targets that the run does not know yet (by `FetchRequest.keyOf`). Their labels are kept: of targets that repeat each other, the
   * first one's. Their `untrusted` is kept too, and does not hold any more for a URL that is added once without it.
   */
  readonly add: (targets: ReadonlyArray<FetchTarget>) => Effect.Effect<Added, FrontierError>
  /**
   * No more will be added by this process: the source is done when every process has sealed, and nothing is pending (deferred
   * ones aside: a later run of the same name fetches them) or leased by anyone.
   */
  readonly seal: Effect.Effect<void, FrontierError>
  /** Pending targets, leased to this process as they are pulled; with the first of a host comes what is known of that host. */
  readonly source: FetchSource<FrontierError>
  /**
   * Records outcomes and ends their leases in one transaction; says which are recorded (an outcome whose lease was lost is not).
   *
   * In the same transaction the last outcome of each host says what is known of it (`Fetched.host`); none is: nothing.
   *
   * An error with a `retryAt` (`RetryAfterTooLong`, `HostThrottled`, `RobotsUnreachable`) defers its URL: recorded as such, and pending
   * again at its `retryAt`.
   */
  readonly settle: (fetched: ReadonlyArray<Fetched>) => Effect.Effect<ReadonlyArray<Fetched>, FrontierError>
  readonly counts: Effect.Effect<RunCounts, FrontierError>
}

/** How a run is asked for. */
export interface FindOptions {
  /** How long each statement is tried while the store cannot be had. @default the store's own */
  readonly patience?: Duration.Input | undefined
}

/** How a run is opened. */
export interface OpenOptions extends FindOptions {
  /** Makes the recorded URLs that meet the filter pending again, behind all others. Deferred ones wait for their time. */
  readonly again?: OutcomeFilter | undefined
  /** Noted with the run, each name over what is noted there; `null` takes a name away. Several processes may do so at once. */
  readonly notes?: RunNotes | undefined
}

/** Which runs to list. */
export interface RunsQuery {
  /** @default 10,000 */
  readonly most?: number | undefined
  /** Only those that nobody has added to or worked on since then, in Unix milliseconds. */
  readonly idleSinceMillis?: number | undefined
}

/** How a run is removed. */
export interface RemoveOptions {
  /** Also when processes work on it: they end with a `FrontierError`. @default false */
  readonly isForced?: boolean | undefined
}

/**
 * Runs and their frontiers. Closing the scope of an open run gives its leases back; a run to which nothing was ever added is gone
 * when nobody has it open any more.
 */
export class Frontier extends Context.Service<Frontier, {
  /** Opens a run, new or known. */
  readonly open: (name: string, options?: OpenOptions) => Effect.Effect<Run, FrontierError, Scope.Scope>
  /** Past runs, the latest first. */
  readonly runs: (query?: RunsQuery) => Effect.Effect<ReadonlyArray<RunSummary>, FrontierError>
  /** A past run. */
  readonly find: (name: string, options?: FindOptions) => Effect.Effect<RunSummary, FrontierError | RunNotFound>
  /** What is noted with a past run. */
  readonly notes: (name: string) => Effect.Effect<RunNotes, FrontierError | RunNotFound>
  /** Those of the targets that a past run does not know (by `FetchRequest.keyOf`). Changes nothing. */
  readonly unknown: (
    name: string,
    targets: ReadonlyArray<FetchTarget>
  ) => Effect.Effect<ReadonlyArray<FetchTarget>, FrontierError | RunNotFound>
  /** How the outcomes of a run ended, the most frequent first. */
  readonly tags: (name: string) => Effect.Effect<ReadonlyArray<TagCount>, FrontierError | RunNotFound>
  /** Recorded outcomes of a run, in the order in which their URLs were added (retried ones where they were made pending again). */
  readonly outcomes: (name: string, filter?: OutcomeFilter) => Stream.Stream<FetchOutcome, FrontierError | RunNotFound>
  /**
   * Removes a run and all that is recorded of it, in small steps. Its name is free at once; a removal that was cut short is gone on with by
   * the next one, of whatever run. Saved bodies and what is known of hosts stay.
   */
  readonly remove: (
    name: string,
    options?: RemoveOptions
  ) => Effect.Effect<void, FrontierError | RunNotFound | RunBusy>
}>()("sluice/services/fetch/Frontier") {}

/** Whether an outcome meets a filter. */
export const matches = (outcome: FetchOutcome, host: string, filter: OutcomeFilter): boolean =>
  (filter.failed !== true || !outcome.ok) &&
  (filter.tag === undefined || outcome.error?._tag === filter.tag) &&
  (filter.status === undefined ||
    outcome.status !== null && StatusRange.includes(filter.status, outcome.status)) &&
  (filter.host === undefined || host === filter.host)

/** Failures that only say "later": their `retryAt` says when. */
const deferring: ReadonlySet<string> = new Set(["RetryAfterTooLong", "HostThrottled", "RobotsUnreachable"])

/** When a deferred outcome's URL may be asked again, in milliseconds; `undefined` for one that is final. */
export const deferredUntil = ({ error }: FetchOutcome): number | undefined => {
  if (error === null || !deferring.has(error._tag) || typeof error["retryAt"] !== "string") return undefined
  const millis = Date.parse(error["retryAt"])
  return Number.isNaN(millis) ? undefined : millis
}
