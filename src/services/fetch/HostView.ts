/**
 * How a host is doing, for whoever watches a fetch.
 */

/** Why nothing starts on a host now. */
export type Block =
  /** The host has asked for it. */
  | { readonly _tag: "Asked"; readonly status: number; readonly forMillis: number }
  /** The host refuses nearly everything, and has not said for how long. */
  | { readonly _tag: "Resting"; readonly status: number; readonly forMillis: number }
  /** The host does not answer. */
  | { readonly _tag: "Silent"; readonly forMillis: number }

/** A host at one moment. */
export interface HostView {
  /** Lower-case host name and port. */
  readonly host: string
  /** Requests on the wire: from connecting to the last byte. Those that wait are none of them. */
  readonly inFlight: number
  /** Requests at once that it was seen to take; `undefined` while it has shown no limit. */
  readonly places: number | undefined
  /** Requests a second that it was seen to take; `undefined` while it has shown no limit. */
  readonly perSecond: number | undefined
  readonly block: Block | undefined
}
