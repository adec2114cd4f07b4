/** Node's HTTP server with limits on how long a request may take to arrive: whoever dribbles one in holds a connection for no longer than that. */
import { Duration } from "effect"
import { createServer, type Server } from "node:http"

/** Heads and bodies are small: one that takes longer is not of a client in earnest. */
const maxArrivalMillis = 10_000

/**
 * A server whose requests must have arrived, head and body, within 10 s and within half of the deadline that their answers have: else 408, and the connection
 * is closed. Looked at four times in that time.
 */
export const make = (deadline: Duration.Duration): Server => {
  const arrivalMillis = Math.max(4, Math.min(maxArrivalMillis, Math.floor(Duration.toMillis(deadline) / 2)))
  return createServer({
    requestTimeout: arrivalMillis,
    headersTimeout: arrivalMillis,
    connectionsCheckingInterval: Math.ceil(arrivalMillis / 4)
  })
}
