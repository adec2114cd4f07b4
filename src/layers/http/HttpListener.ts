import type { Options } from "@effect/platform-node/NodeHttpServer"
import { Duration } from "effect"
import { createServer, type Server } from "node:http"

/** Heads and bodies are small: a client that needs longer is broken, or holds the connection on purpose. */
const maxArrivalMillis = 10_000

/**
 * Node's HTTP server with limits on how long a request may take to arrive, so that a slow one holds its connection no longer. Head and body
 * must have arrived within 10 s, and within half of the deadline that answers have: else 408, and the connection is closed. Looked at four
 * times in that time.
 */
export const make = (deadline: Duration.Duration): Server => {
  const arrivalMillis = Math.max(4, Math.min(maxArrivalMillis, Math.floor(Duration.toMillis(deadline) / 2)))
  return createServer({
    requestTimeout: arrivalMillis,
    headersTimeout: arrivalMillis,
    connectionsCheckingInterval: Math.ceil(arrivalMillis / 4)
  })
}

/**
 * The largest message that a client may send over a WebSocket, in bytes: 16 KiB, else it is closed with 1009. Messages are not compressed:
 * that would cost each connection more memory than everything else.
 */
export const webSocket: NonNullable<Options["websocket"]> = {
  maxPayload: 16_384,
  perMessageDeflate: false
}
