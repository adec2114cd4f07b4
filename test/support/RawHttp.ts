/** HTTP by hand: bytes that no client would send, and all that comes back. */
import { Effect } from "effect"
import { connect } from "node:net"

/** Sends the text to the server at `url`, and answers everything that it sends until it closes the connection. */
export const exchange = (url: string, text: string): Effect.Effect<string> =>
  Effect.callback<string>((resume) => {
    const { hostname, port } = new URL(url)
    let received = ""
    const socket = connect(Number(port), hostname, () => socket.write(text))
    socket.on("data", (chunk) => received += chunk.toString())
    socket.on("error", () => {})
    socket.on("close", () => resume(Effect.succeed(received)))
    return Effect.sync(() => void socket.destroy())
  })

/** The status of an answer; 0 when there is none. */
export const statusOf = (answer: string): number => Number(/^HTTP\/1\.1 (\d{3}) /.exec(answer)?.[1] ?? 0)
