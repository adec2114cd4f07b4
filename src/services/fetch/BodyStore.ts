/**
 * Where bodies go that are to be kept: a file each, whole or not there at all.
 */
import type { Effect, Scope } from "effect"
import { Context } from "effect"
import type { BodyStoreError } from "./FetchError.ts"
import type { FetchTarget } from "./FetchRequest.ts"
import type { SaveTemplate } from "./SaveTemplate.ts"

/** A body being written. Closing its scope without `commit` leaves nothing behind. */
export interface BodyWriter {
  readonly write: (chunk: Uint8Array) => Effect.Effect<void, BodyStoreError>
  /** Makes the body durable under its final name (fsync, rename, fsync of the directory) and returns that name. */
  readonly commit: Effect.Effect<string, BodyStoreError>
}

/** Keeps bodies. Without it a fetcher hands bodies back in memory. */
export class BodyStore extends Context.Service<BodyStore, {
  /**
   * Begins a body.
   *
   * @param target what was asked for, before redirects
   * @param contentType of the response
   */
  readonly writer: (
    target: FetchTarget,
    contentType: string | undefined
  ) => Effect.Effect<BodyWriter, BodyStoreError, Scope.Scope>
}>()("sluice/services/fetch/BodyStore") {}

/** Stores by their directory: for a program that learns where bodies go when it runs. */
export class BodyStores extends Context.Service<BodyStores, {
  /**
   * Opens the store of a directory. Fails when it cannot be made, read, or written to.
   *
   * @param saveAs what bodies are called below it; `undefined`: as the store likes
   */
  readonly open: (
    directory: string,
    saveAs?: SaveTemplate
  ) => Effect.Effect<BodyStore["Service"], BodyStoreError>
}>()("sluice/services/fetch/BodyStore/BodyStores") {}
