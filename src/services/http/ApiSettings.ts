/** How the API treats requests. */
import type { Duration, Redacted } from "effect"
import { Context } from "effect"

/** What can be set. */
export interface Settings {
  /** The token that `/v1` needs; without one the server answers programs of its own machine only. */
  readonly token: Redacted.Redacted | undefined
  /** The largest body that is read. */
  readonly maxBodyBytes: number
  /** How long a request may take; it reaches into the database. Streams are exempt, and `Prefer: wait` adds to it. */
  readonly deadline: Duration.Duration
}

/** The settings in force. */
export class ApiSettings extends Context.Service<ApiSettings, Settings>()("sluice/services/http/ApiSettings") {}
