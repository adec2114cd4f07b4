/** How the API treats requests. */
import { Context, Duration, type Redacted } from "effect"

/** What can be set. */
export interface Settings {
  /** The token that `/v1` needs; without one the server answers programs of its own machine only. */
  readonly token: Redacted.Redacted | undefined
  /** The largest body that is read. @default 65536 */
  readonly maxBodyBytes: number
  /** How long a request may take; it reaches into the database. Streams are exempt, and `Prefer: wait` adds to it. @default 30 seconds */
  readonly deadline: Duration.Duration
}

/** Of a server that says nothing else: no token, bodies up to 64 KiB, half a minute. */
export const defaults: Settings = { token: undefined, maxBodyBytes: 65_536, deadline: Duration.seconds(30) }

/** The settings in force. */
export class ApiSettings extends Context.Service<ApiSettings, Settings>()("sluice/services/http/ApiSettings") {}
