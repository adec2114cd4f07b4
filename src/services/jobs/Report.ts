import type { Schema } from "effect"

/** What a handler reports. */
export interface Report {
  /** From 0 to 1. */
  readonly fraction?: number
  /** Anything that JSON can hold, in at most 4 KiB. */
  readonly detail?: Schema.Json
}
