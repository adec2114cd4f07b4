/**
 * Fetching as a service: one request, or any number of them through the limits of a policy.
 */
import type { Effect, Stream } from "effect"
import { Context } from "effect"
import type { FetchError } from "./FetchError.ts"
import type { FetchOutcome } from "./FetchOutcome.ts"
import type { FetchRequest, FetchTarget } from "./FetchRequest.ts"
import type { FetchSource } from "./FetchSource.ts"
import type { HostState } from "./HostState.ts"
import type { HostView } from "./HostView.ts"

/** A response whose whole body was received, checked and decoded. */
export interface FetchResponse {
  readonly outcome: FetchOutcome
  readonly headers: Readonly<Record<string, string>>
  /** Empty when the body went to a `BodyStore`. */
  readonly body: Uint8Array
}

/** An outcome beside the target that it belongs to. */
export interface Fetched {
  readonly target: FetchTarget
  readonly outcome: FetchOutcome
  /** What is worth remembering of its host, when there is something: blocks, a learned limit, an open circuit. */
  readonly host?: HostState | undefined
}

/**
 * Fetches under the `FetchPolicy` in force. The unit of work and of retry is request + body + checksum.
 */
export class Fetcher extends Context.Service<Fetcher, {
  /** One request to its end; fails with the typed reason. */
  readonly fetch: (request: FetchRequest) => Effect.Effect<FetchResponse, FetchError>
  /** One request to its end; a failure is part of the outcome. */
  readonly outcome: (request: FetchRequest) => Effect.Effect<FetchOutcome>
  /** Every request of a stream, outcomes in completion order; leaving early cancels what is in flight. Back pressure reaches the input. */
  readonly fetchAll: <E, R>(requests: Stream.Stream<FetchRequest, E, R>) => Stream.Stream<FetchOutcome, E, R>
  /** Every target of a source, as `fetchAll`: for frontiers, which know which hosts to skip. */
  readonly fetchSource: <E, R>(source: FetchSource<E, R>) => Stream.Stream<Fetched, E, R>
  /** The hosts that something is on its way to, or that are shut, as they are now. */
  readonly hosts: Effect.Effect<ReadonlyArray<HostView>>
}>()("sluice/services/fetch/Fetcher") {}
