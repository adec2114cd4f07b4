/** A plain HTTP client for tests of the API: what was sent and what came back, nothing in between. */
import { Effect } from "effect"

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  /** The body as JSON; undefined when it is none. */
  // Tests look at what came over the wire, whatever it is.
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly json: any
}

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

export const request = (url: string, init: RequestInit = {}): Effect.Effect<Answer> =>
  Effect.promise(async (signal) => {
    const response = await fetch(url, { ...init, signal })
    const text = await response.text()
    return { status: response.status, headers: response.headers, text, json: parse(text) }
  })

/** The same, but a stream of events, which may have no end, is left as soon as it has begun. */
export const requestUnlessStreamed = (url: string, init: RequestInit = {}): Effect.Effect<Answer> =>
  Effect.promise(async (signal) => {
    const response = await fetch(url, { ...init, signal })
    const isStreamed = response.headers.get("content-type") === "text/event-stream"
    if (isStreamed) await response.body?.cancel()
    const text = isStreamed ? "" : await response.text()
    return { status: response.status, headers: response.headers, text, json: parse(text) }
  })

export const post = (url: string, body: unknown, headers: Record<string, string> = {}): Effect.Effect<Answer> =>
  request(url, {
    method: "POST",
    body: typeof body === "string" ? body : JSON.stringify(body),
    headers: { "content-type": "application/json", ...headers }
  })
