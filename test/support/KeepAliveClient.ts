/** A client that keeps one connection for its requests, and obeys a server that closes it. */
import { Effect, type Scope } from "effect"
import { Agent, request } from "node:http"

export interface Reply {
  /** 0 when there was no answer. */
  readonly status: number
  readonly text: string
  /** What the server said about the connection. */
  readonly connection: string | undefined
  /** The system's name of what went wrong, such as ECONNRESET. */
  readonly error: string | undefined
}

export interface KeepAliveClient {
  readonly get: (path: string) => Effect.Effect<Reply>
  readonly post: (path: string, body: unknown, headers: Record<string, string>) => Effect.Effect<Reply>
}

interface Sent {
  readonly method: string
  readonly path: string
  readonly headers?: Record<string, string>
  readonly body?: string
}

const codeOf = (error: unknown): string =>
  error instanceof Error && "code" in error ? String(error.code) : String(error)

const send = (base: URL, agent: Agent, { body, headers, method, path }: Sent): Effect.Effect<Reply> =>
  Effect.callback((resume) => {
    const failed = (error: unknown) =>
      resume(Effect.succeed({ status: 0, text: "", connection: undefined, error: codeOf(error) }))
    const sent = request(new URL(path, base), { agent, method, headers: headers ?? {} }, (response) => {
      let text = ""
      response.setEncoding("utf8").on("data", (chunk: string) => text += chunk)
      response.on("error", failed)
      response.on("end", () => {
        const { connection } = response.headers
        resume(Effect.succeed({ status: response.statusCode ?? 0, text, connection, error: undefined }))
      })
    })
    sent.on("error", failed)
    sent.end(body)
    return Effect.sync(() => void sent.destroy())
  })

/** A client of a server; its connection is closed with the scope. */
export const make = (base: string): Effect.Effect<KeepAliveClient, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => new Agent({ keepAlive: true, maxSockets: 1 })),
      (agent) => Effect.sync(() => agent.destroy())
    ),
    (agent) => ({
      get: (path) => send(new URL(base), agent, { method: "GET", path }),
      post: (path, body, headers) =>
        send(new URL(base), agent, {
          method: "POST",
          path,
          body: JSON.stringify(body),
          headers: { "content-type": "application/json", ...headers }
        })
    })
  )
