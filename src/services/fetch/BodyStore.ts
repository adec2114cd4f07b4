/**
 * Where bodies go that are to be kept: a file each, whole or not there at all.
 */
import type { Effect, Scope } from "effect"
import { Context } from "effect"
import type { BodyStoreError } from "./FetchError.ts"
import type { FetchTarget } from "./FetchRequest.ts"

/** A body being written. Closing its scope without `commit` leaves nothing behind. */
export interface BodyWriter {
  readonly write: (chunk: Uint8Array) => Effect.Effect<void, BodyStoreError>
  /** Makes the body durable under its final name (fsync, rename, fsync of the directory) and returns that name. */
  readonly commit: Effect.Effect<string, BodyStoreError>
}

/** Keeps bodies. Without it a fetcher hands bodies back in memory. */
export class BodyStore extends Context.Service<BodyStore, {
  readonly writer: (target: FetchTarget) => Effect.Effect<BodyWriter, BodyStoreError, Scope.Scope>
}>()("sluice/services/fetch/BodyStore") {}

/** Stores by their directory: for a program that learns where bodies go when it runs. */
export class BodyStores extends Context.Service<BodyStores, {
  /** Opens the store of a directory. Fails when it cannot be made, read, or written to. */
  readonly open: (directory: string) => Effect.Effect<BodyStore["Service"], BodyStoreError>
}>()("sluice/services/fetch/BodyStore/BodyStores") {}
