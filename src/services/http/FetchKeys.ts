/** The idempotency keys of `POST /v1/fetches`: a key means one request, for ever. */
import type { Effect } from "effect"
import { Context, Schema } from "effect"
import type { RunSummary } from "../fetch/Frontier.ts"
import type { KeyInFlight, KeyReused } from "../orders/OrdersError.ts"
import * as SqlFailure from "../postgres/SqlFailure.ts"

/** The store of the keys did not do what was asked; `reason` is what a caller branches on (see `SqlFailure.Reason`). */
export class FetchKeysError extends Schema.TaggedError<FetchKeysError>()("FetchKeysError", {
  operation: Schema.String,
  reason: SqlFailure.Reason,
  cause: Schema.Defect()
}) {
  override get message(): string {
    return `the keys of fetch runs: ${this.operation} failed (${this.reason})`
  }
}

/** The right to do what the request with this key asks for. */
export interface FetchClaim {
  readonly key: string
  /** The run to begin: the one of an earlier try with this key, when that did not get to its end. */
  readonly run: string
  /** Tells this try from other tries with the key. */
  readonly token: string
}

/** What is to be done about a request. */
export type FetchBeginning =
  | { readonly _tag: "Claimed"; readonly claim: FetchClaim }
  | { readonly _tag: "Replayed"; readonly answer: RunSummary }

/** A request with a key. */
export interface KeyedFetch {
  readonly key: string
  /** The same for the same payload, and for no other. */
  readonly fingerprint: string
  /** The run to begin, if this is the first try. */
  readonly run: string
  readonly token: string
}

/** How long a try holds its key. After one that was killed the next may begin when that time is over. */
export const claimSeconds = 15

/** Keys, and what they were first used for. */
export class FetchKeys extends Context.Service<FetchKeys, {
  /** Claims a key for {@link claimSeconds}, or tells what the first request with it was answered. */
  readonly begin: (
    request: KeyedFetch
  ) => Effect.Effect<FetchBeginning, KeyReused | KeyInFlight | FetchKeysError>
  /** Keeps the answer, in the transaction that it is called in. Fails with `KeyInFlight` when another try has taken the key over. */
  readonly finish: (claim: FetchClaim, answer: RunSummary) => Effect.Effect<void, KeyInFlight | FetchKeysError>
  /** Lets the next try begin at once: this one has failed. */
  readonly release: (claim: FetchClaim) => Effect.Effect<void, FetchKeysError>
}>()("sluice/services/http/FetchKeys") {}
