/** The users of a server: each connection to the control socket is one, and its end, even by kill -9, ends the use. */
import { rmSync } from "node:fs"
import { createServer, type Server, type Socket } from "node:net"
import type { MessageEncoded } from "./Protocol.ts"

export interface Users {
  readonly count: () => number
  /** Tells all users, and later ones at once. */
  readonly say: (message: MessageEncoded) => void
  /** No new users; those that are there stay connected. */
  readonly close: () => void
  /** Ends what is still connected: the last user to leave waits for it, to know that the server has stopped. */
  readonly release: () => void
}

/**
 * Listens at `path`, whose stale file may be replaced: the caller holds the lock. A user leaves by ending its side; ours
 * is ended at once, except the last one's, if `holdLast`, which is ended at `release`.
 */
export const listen = async (
  path: string,
  holdLast: boolean,
  onChange: (count: number) => void
): Promise<Users> => {
  const sockets = new Set<Socket>()
  const leavers = new Set<Socket>()
  const endLeavers = (): void => {
    for (const socket of leavers) socket.end()
    leavers.clear()
  }
  let last: MessageEncoded | undefined
  const send = (socket: Socket, message: MessageEncoded): void => {
    socket.write(`${JSON.stringify(message)}\n`)
  }
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket)
    endLeavers()
    const leave = (): void => {
      if (!sockets.delete(socket)) return
      leavers.add(socket)
      if (sockets.size > 0 || !holdLast) endLeavers()
      onChange(sockets.size)
    }
    socket.on("error", () => socket.destroy())
    socket.on("end", leave)
    socket.on("close", () => {
      leave()
      leavers.delete(socket)
    })
    // Users say nothing; reading is how their end is noticed.
    socket.resume()
    if (last !== undefined) send(socket, last)
    onChange(sockets.size)
  })
  rmSync(path, { force: true })
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once("error", reject)
  server.listen({ path }, resolve)
  await promise
  return {
    count: () => sockets.size,
    say: (message) => {
      last = message
      for (const socket of sockets) send(socket, message)
    },
    close: () => server.close(),
    release: () => {
      endLeavers()
      for (const socket of sockets) socket.end()
    }
  }
}
