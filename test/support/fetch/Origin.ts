/**
 * A loopback HTTP server for tests that need real sockets, with a count of them.
 */
import { Effect, type Scope } from "effect"
import { spawn } from "node:child_process"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import * as net from "node:net"

export interface Origin {
  readonly url: string
  /** Connections that are open now, as the server sees them. */
  readonly sockets: () => number
  /** Waits until no more than this many are open; a test that never gets there times out. */
  readonly socketsFallTo: (count: number) => Effect.Effect<void>
}

const portOf = (server: net.Server): number => {
  const address = server.address()
  return typeof address === "object" && address !== null ? address.port : 0
}

const listening = (server: net.Server): Effect.Effect<net.Server> =>
  Effect.callback((resume) => {
    server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
  })

/** Counts the connections of a server and closes them with it. */
const tracked = (server: net.Server): Effect.Effect<Origin, never, Scope.Scope> => {
  const sockets = new Set<net.Socket>()
  let onClose = () => {}
  server.on("connection", (socket) => {
    sockets.add(socket)
    socket.on("error", () => {})
    socket.on("close", () => {
      sockets.delete(socket)
      onClose()
    })
  })
  return Effect.map(
    Effect.acquireRelease(listening(server), () =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        for (const socket of sockets) socket.destroy()
      })),
    () => ({
      url: `http://127.0.0.1:${portOf(server)}`,
      sockets: () => sockets.size,
      socketsFallTo: (count) =>
        Effect.callback<void>((resume) => {
          onClose = () => {
            if (sockets.size <= count) resume(Effect.void)
          }
          onClose()
        })
    })
  )
}

/** A server that answers with this handler; its scope's end closes it and all its connections. */
export const make = (
  handler: (request: IncomingMessage, response: ServerResponse) => void
): Effect.Effect<Origin, never, Scope.Scope> =>
  Effect.suspend(() => {
    const server = createServer({ keepAliveTimeout: 60_000 }, handler)
    return tracked(server)
  })

/** A server over plain sockets. */
export const makeRaw = (handler: (socket: net.Socket) => void): Effect.Effect<Origin, never, Scope.Scope> =>
  Effect.suspend(() => tracked(net.createServer(handler)))

/** A listener whose process sleeps: its backlog is full, so a connect is neither taken nor refused. */
export const makeFull: Effect.Effect<{ readonly url: string }, never, Scope.Scope> = Effect.gen(function*() {
  const child = yield* Effect.acquireRelease(
    Effect.sync(() => spawn(process.execPath, ["-e", sleepingListener], { stdio: ["ignore", "pipe", "inherit"] })),
    (child) =>
      Effect.callback<void>((resume) => {
        child.on("exit", () => resume(Effect.void))
        child.kill("SIGKILL")
      })
  )
  const port = yield* Effect.callback<number>((resume) => {
    child.stdout.on("data", (text: Buffer) => resume(Effect.succeed(Number(text.toString()))))
  })
  // The backlog of one takes two; what comes after that hangs.
  yield* Effect.forEach([1, 2, 3], () =>
    Effect.acquireRelease(
      Effect.sync(() => net.connect(port, "127.0.0.1").on("error", () => {})),
      (socket) => Effect.sync(() => socket.destroy())
    ))
  return { url: `http://127.0.0.1:${port}` }
})

const sleepingListener = `
  const server = require("node:net").createServer()
  server.listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => {
    require("node:fs").writeSync(1, String(server.address().port))
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
  })`
