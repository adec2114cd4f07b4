/**
 * Where a dispatcher gets its work. It asks for as much as it can start now, so neither side ever parks a fiber per URL.
 */
import type { Effect } from "effect"
import type { FetchTarget } from "./FetchRequest.ts"
import type { HostState } from "./HostState.ts"

/** What a dispatcher can take: at most `limit` targets, none of them on a host in `closedHosts`. */
export interface FetchDemand {
  readonly limit: number
  /** Hosts whose gate is shut now (concurrency, rate, Retry-After, breaker). Bounded by the dispatcher. */
  readonly closedHosts: ReadonlySet<string>
}

/**
 * What a source can give: some targets (never none); nothing before `wake` ends (new input, a lapsed lease, a host's `next_at`) or a host
 * opens that was closed; or nothing ever again.
 */
export type FetchSupply =
  | {
    readonly _tag: "Targets"
    readonly targets: ReadonlyArray<FetchTarget>
    /** What was remembered of hosts among them (`Fetched.host`): blocks and limits are taken up again. */
    readonly hosts?: ReadonlyArray<HostState> | undefined
  }
  | { readonly _tag: "Wait"; readonly wake: Effect.Effect<void> }
  | { readonly _tag: "Done" }

/**
 * A source of work: a list, a stream, or a frontier shared by many processes.
 *
 * A pull is not to be raced: what an interrupted one has leased comes back only when the run is closed.
 */
export interface FetchSource<out E = never, out R = never> {
  readonly pull: (demand: FetchDemand) => Effect.Effect<FetchSupply, E, R>
  /** For a source whose targets can be lost to another process. */
  readonly lending?: Lending | undefined
}

/** What has become of targets that a source has lent: "sure" that they are still lent, or all "lost" to others. */
export type LendingChange = "sure" | "lost"

/** Whether what was handed out may still be started: a process that stood still for long may have been taken for dead. */
export interface Lending {
  /** Asked before each start; when it says no, "sure" or "lost" follows. Costs no I/O. */
  readonly isSure: () => boolean
  /** Calls back with each change; gives back what ends that. */
  readonly listen: (onChange: (change: LendingChange) => void) => () => void
}
