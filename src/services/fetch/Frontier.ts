/**
 * The frontier: which URLs a run still has to fetch, which it has, and what became of each. PENDING -> LEASED -> DONE | FAILED.
 */
import type { Effect, Scope, Stream } from "effect"
import { Context, Schema } from "effect"
import type { Fetched } from "./Fetcher.ts"
import type { FetchOutcome } from "./FetchOutcome.ts"
import type { FetchTarget } from "./FetchRequest.ts"
import type { FetchSource } from "./FetchSource.ts"

/** A run's name: 1 to 200 letters, digits, `.`, `_`, `-`, `:`. */
export const RunName = Schema.String.check(Schema.isPattern(/^[A-Za-z0-9._:-]{1,200}$/))

/** Exact counts of a run. */
export const RunCounts = Schema.Struct({
  pending: Schema.Int,
  leased: Schema.Int,
  done: Schema.Int,
  failed: Schema.Int
})

/** Exact counts of a run. */
export type RunCounts = typeof RunCounts.Type

/** A run as `sluice runs` lists it. */
export const RunSummary = Schema.Struct({
  name: Schema.String,
  createdAt: Schema.String,
  updatedAt: Schema.String,
  counts: RunCounts
})

/** A run as `sluice runs` lists it. */
export type RunSummary = typeof RunSummary.Type

/** The store of a frontier cannot be used. */
export class FrontierError extends Schema.TaggedError<FrontierError>()("FrontierError", {
  operation: Schema.String,
  cause: Schema.Defect()
}) {
  override get message(): string {
    return `the frontier's store failed at ${this.operation}`
  }
}

/** There is no run of that name. */
export class RunNotFound extends Schema.TaggedError<RunNotFound>()("RunNotFound", { name: Schema.String }) {
  override get message(): string {
    return `there is no run named ${JSON.stringify(this.name)}; \`sluice runs\` lists them`
  }
}

/** Which outcomes of a run to read. */
export interface OutcomeFilter {
  readonly failed?: boolean
  readonly tag?: string
  readonly host?: string
}

/** One open run: the handle through which a process adds to it, works on it and reads it. */
export interface Run {
  readonly name: string
  /** Adds targets that the run does not know yet (by method and canonical URL); says how many were new. */
  readonly add: (targets: ReadonlyArray<FetchTarget>) => Effect.Effect<number, FrontierError>
  /** No more will be added by this process: the source is done when nothing is pending or leased by anyone. */
  readonly seal: Effect.Effect<void, FrontierError>
  /** Pending targets, leased to this process as they are pulled. */
  readonly source: FetchSource<FrontierError>
  /** Records outcomes and ends their leases in one transaction; says which are recorded (an outcome whose lease was lost is not). */
  readonly settle: (fetched: ReadonlyArray<Fetched>) => Effect.Effect<ReadonlyArray<Fetched>, FrontierError>
  readonly counts: Effect.Effect<RunCounts, FrontierError>
}

/**
 * Runs and their frontiers. Closing the scope of an open run gives its leases back.
 */
export class Frontier extends Context.Service<Frontier, {
  /** Opens a run, new or known; failed URLs become pending again if `retryFailed` says which. */
  readonly open: (
    name: string,
    options?: { readonly retryFailed?: OutcomeFilter | undefined }
  ) => Effect.Effect<Run, FrontierError, Scope.Scope>
  /** Past runs, the latest first. */
  readonly runs: Effect.Effect<ReadonlyArray<RunSummary>, FrontierError>
  /** A past run. */
  readonly find: (name: string) => Effect.Effect<RunSummary, FrontierError | RunNotFound>
  /** Recorded outcomes of a run, in the order they were recorded. */
  readonly outcomes: (name: string, filter?: OutcomeFilter) => Stream.Stream<FetchOutcome, FrontierError | RunNotFound>
}>()("sluice/services/fetch/Frontier") {}
