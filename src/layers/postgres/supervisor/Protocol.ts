/**
 * What the supervisor of the embedded database and its users say to each other: JSON lines over `<data dir>/pg.sock`.
 * A connection is a use; users send nothing. The supervisor imports this file for its types only.
 */
import { Schema } from "effect"
import { EmbeddedFailure } from "../EmbeddedFailure.ts"

/** What the supervisor is told when it is started, as its one argument. */
export interface SupervisorOptions {
  /** The data directory, absolute; the server's own directory is `pg` below it. */
  readonly directory: string
  /** Where a copy of the server's programs may be put when the installed ones cannot be reached. */
  readonly temporary: string
  /** How long to stay after the last user has left. */
  readonly lingerMillis: number
  /** Server settings that replace ours. */
  readonly settings: Readonly<Record<string, string>>
}

/** One line from the supervisor. */
export const Message = Schema.Union([
  /** Something a person may be waiting for, in words. */
  Schema.Struct({ type: Schema.Literal("progress"), text: Schema.String }),
  /** The server accepts connections. Said again after each restart. */
  Schema.Struct({ type: Schema.Literal("ready"), supervisorPid: Schema.Finite, serverPid: Schema.Finite }),
  /** The server went away by itself and is being started again. */
  Schema.Struct({ type: Schema.Literal("restarting"), text: Schema.String }),
  /** It cannot serve, and leaves. */
  Schema.Struct({ type: Schema.Literal("failed"), reason: EmbeddedFailure })
])
export type Message = typeof Message.Type

/** The same on the wire. */
export type MessageEncoded = typeof Message.Encoded
export type FailureEncoded = typeof EmbeddedFailure.Encoded
