/**
 * What is remembered of a host beyond the life of a process, as JSON: a frontier keeps it beside its rows, so that politeness outlives
 * a restart.
 */
import { Schema } from "effect"

/** Times are Unix milliseconds; 0 is none. */
export const HostState = Schema.Struct({
  host: Schema.String,
  /** Nothing starts before this time. */
  blockedUntilMillis: Schema.Finite,
  /** The status that asked for it. */
  blockStatus: Schema.Int,
  /** Blocks in a row without a Retry-After: the next one's length. */
  strikes: Schema.Int,
  struckAtMillis: Schema.Finite,
  /** Requests at once that the host was seen to take. */
  concurrency: Schema.NullOr(Schema.Int),
  /** Last time that its circuit stayed open; 0 when it is closed. */
  cooldownMillis: Schema.Finite,
  openUntilMillis: Schema.Finite
})

/** What is remembered of a host. */
export type HostState = typeof HostState.Type
