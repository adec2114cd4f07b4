/**
 * What a lookup of a host name ends with, and how one is asked for.
 */
import type { LookupAddress } from "node:dns"

/** The addresses of a name, best first, or why there are none (the resolver's own code). */
export type Answer =
  | {
    readonly addresses: ReadonlyArray<LookupAddress>
    /** How long it holds; `undefined` where the resolver does not tell. */
    readonly ttlMillis?: number | undefined
  }
  | { readonly code: string }

/** Ends a lookup: nothing is told of it any more. */
export type Cancel = () => void

/**
 * Looks a name up, and tells once. One that can be given up answers how. One whose turn does not come at once says so: `held(true)`, and
 * `held(false)` when it begins.
 */
export type Lookup = (
  hostname: string,
  done: (answer: Answer) => void,
  held: (isHeld: boolean) => void
) => Cancel | void

/** Codes that say that this process (or this machine) has no file left: nothing that the name or its server has done. */
export const isOutOfFiles = (code: string): boolean => code === "EMFILE" || code === "ENFILE"
