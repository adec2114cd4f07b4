/**
 * Who may use what is not open to everybody. With a token: whoever sends it. Without one the server listens on loopback only and answers
 * programs of this machine. A page of another site is not answered, even when a browser of this machine asks for it and by a local name.
 */
import { Redacted } from "effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import { createHash, timingSafeEqual } from "node:crypto"
import type { Settings } from "../../services/http/ApiSettings.ts"
import * as Problem from "../../services/http/Problem.ts"

/** Why a request is turned away; undefined when it may pass. */
export type Guard = (request: HttpServerRequest) => Problem.Unauthorized | Problem.Forbidden | undefined

const digest = (text: string) => createHash("sha256").update(text).digest()

const bearer = /^bearer +(\S+)\s*$/i

/**
 * A browser's WebSocket sends no headers of its own. It names the token as one of its subprotocols, in Base64url, behind the one that is
 * answered: `new WebSocket(url, ["sluice", "bearer." + base64url(token)])`.
 */
const subprotocol = /(?:^|,)\s*bearer\.([A-Za-z0-9_-]+)\s*(?:,|$)/

const ofWebSocket = (headers: HttpServerRequest["headers"]): string | undefined => {
  const encoded = headers["upgrade"]?.toLowerCase() === "websocket"
    ? subprotocol.exec(headers["sec-websocket-protocol"] ?? "")?.[1]
    : undefined
  return encoded === undefined ? undefined : Buffer.from(encoded, "base64url").toString()
}

const byToken = (token: Redacted.Redacted): Guard => {
  const expected = digest(Redacted.value(token))
  return ({ headers }) => {
    const given = bearer.exec(headers["authorization"] ?? "")?.[1] ?? ofWebSocket(headers)
    return given !== undefined && timingSafeEqual(digest(given), expected) ? undefined : new Problem.Unauthorized()
  }
}

/** Names that reach only this machine. A page whose own name was made to resolve to 127.0.0.1 (DNS rebinding) sends that name. */
const loopbackHost = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?$/i

/** What browsers say of requests that the server's own pages, or the person at the keyboard, have made (Fetch Metadata, section 2.3). */
const ownSites: ReadonlySet<string> = new Set(["same-origin", "none"])

const forbidden = (detail: string) => new Problem.Forbidden({ detail })

/** Browsers of today send `Sec-Fetch-Site` with every request, older ones `Origin` with those that write; programs send neither. */
const byMachine: Guard = ({ headers }) => {
  const host = headers["host"] ?? ""
  if (!loopbackHost.test(host)) return forbidden("without a token the server answers to localhost, 127.0.0.1 and [::1]")
  const site = headers["sec-fetch-site"]
  if (site !== undefined && !ownSites.has(site)) return forbidden("without a token the server answers no other site")
  const origin = headers["origin"]?.toLowerCase()
  const own = host.toLowerCase()
  return origin === undefined || origin === `http://${own}` || origin === `https://${own}`
    ? undefined
    : forbidden("without a token the server answers no other origin")
}

/** The guard that the settings ask for. */
export const make = ({ token }: Settings): Guard => token === undefined ? byMachine : byToken(token)
