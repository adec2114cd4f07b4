/**
 * What is remembered of a host beyond the life of a process, as JSON: a frontier keeps it beside its rows, so that politeness outlives
 * a restart.
 */
import { Schema } from "effect"

/** One moment on two clocks. */
export interface Moment {
  /** Monotonic. */
  readonly nowMillis: number
  /** Unix time. */
  readonly wallMillis: number
}

/** Times are Unix milliseconds; 0 is none. */
export const HostState = Schema.Struct({
  host: Schema.String,
  /** The host has asked not to be asked before this time (Retry-After). */
  blockedUntilMillis: Schema.Finite,
  /** The status that it refused with last. */
  blockStatus: Schema.Int,
  /** Rests in a row that were chosen for it: the next one's length. */
  strikes: Schema.Int,
  /** When it refused last. */
  struckAtMillis: Schema.Finite,
  /** Requests at once that the host was seen to take. */
  concurrency: Schema.NullOr(Schema.Int),
  /** Last time that its circuit stayed open; 0 when it is closed. */
  cooldownMillis: Schema.Finite,
  openUntilMillis: Schema.Finite,
  /** Until when it is left to rest, as was chosen for it. */
  restsUntilMillis: Schema.optionalKey(Schema.Finite),
  /** Requests a second that it was seen to take. */
  perSecond: Schema.optionalKey(Schema.Finite)
})

/** What is remembered of a host. */
export type HostState = typeof HostState.Type

/** How long a host's state is kept after it was last noted, and after the end of what the host asked for. */
const keepMillis = 3_600_000

/** Longest that one is kept: a Retry-After of years is no reason to keep a row for as long. */
const keepMaxMillis = 30 * 24 * keepMillis

/** Until when nothing starts on the host, in Unix milliseconds; 0 when it is open. */
export const shutUntilMillis = ({ blockedUntilMillis, openUntilMillis, restsUntilMillis }: HostState): number =>
  Math.max(blockedUntilMillis, openUntilMillis, restsUntilMillis ?? 0)

/**
 * When a state that is noted now is stale, in Unix milliseconds: an hour from now or from the end of its block, at most
 * 30 days from now.
 */
export const staleAtMillis = (state: HostState, nowMillis: number): number =>
  Math.min(nowMillis + keepMaxMillis, Math.max(nowMillis, shutUntilMillis(state)) + keepMillis)

/** Whether what is noted of a host is so fresh that noting the same again is of no use. */
export const isFresh = (staleAtMillis: number, nowMillis: number): boolean => staleAtMillis > nowMillis + keepMillis / 2
