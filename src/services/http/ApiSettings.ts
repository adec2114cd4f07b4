/** How the API treats requests. */
import { Context, Duration, type Redacted } from "effect"
import * as LongConnections from "./LongConnections.ts"

/** What can be set. */
export interface Settings {
  /** The token that `/v1` needs; without one the server answers programs of its own machine only. */
  readonly token: Redacted.Redacted | undefined
  /** The largest body that is read. @default 65536 */
  readonly maxBodyBytes: number
  /** How long a request may take; it reaches into the database. Streams are exempt, and `Prefer: wait` adds to it. @default 30 seconds */
  readonly deadline: Duration.Duration
  /**
   * Where people and clients reach the server, such as `https://example.com/shop`, without a slash at the end: what its document and pages
   * name. @default where the request says that it came to
   */
  readonly publicUrl: string | undefined
  /** How many event streams and WebSockets there may be, and how they are kept. */
  readonly connections: LongConnections.Limits
}

/** Of a server that says nothing else. */
export const defaults: Settings = {
  token: undefined,
  maxBodyBytes: 65_536,
  deadline: Duration.seconds(30),
  publicUrl: undefined,
  connections: LongConnections.defaults
}

/** The settings in force. */
export class ApiSettings extends Context.Service<ApiSettings, Settings>()("sluice/services/http/ApiSettings") {}
