/**
 * An `HttpClient` that plays a script instead of talking: under TestClock it shows what a fetcher does with time.
 */
import { Clock, Effect, Layer, Stream } from "effect"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"

/** A reply of the script. */
export interface Reply {
  readonly status?: number
  readonly headers?: Record<string, string>
  readonly body?: string | Uint8Array<ArrayBuffer>
  /** Before the head. */
  readonly delay?: number
  /** Pieces of the body, each after a wait; instead of `body`. */
  readonly pieces?: ReadonlyArray<{ readonly afterMillis: number; readonly text: string }>
  /** No head ever. */
  readonly silent?: boolean
  /** Fails with this code. */
  readonly code?: string
}

/** What was sent, when (test clock), to which URL. */
export interface Sent {
  readonly atMillis: number
  readonly request: HttpClientRequest.HttpClientRequest
}

export interface Script {
  readonly sent: Array<Sent>
  /** Requests under way now, and the most there ever were. */
  inFlight: number
  inFlightMax: number
  readonly layer: Layer.Layer<HttpClient.HttpClient>
}

/** A client whose n-th request (from 0) is answered by `reply(n, request)`. */
export const make = (reply: (n: number, request: HttpClientRequest.HttpClientRequest) => Reply): Script => {
  const answer = (request: HttpClientRequest.HttpClientRequest) =>
    Effect.gen(function*() {
      const atMillis = yield* Clock.currentTimeMillis
      const { body, code, delay, headers, pieces, silent, status } = reply(
        script.sent.push({ atMillis, request }) - 1,
        request
      )
      if (delay !== undefined) yield* Effect.sleep(delay)
      if (silent === true) return yield* Effect.never
      if (code !== undefined) {
        return yield* new HttpClientError.HttpClientError({
          reason: new HttpClientError.TransportError({ request, cause: { code } })
        })
      }
      const response = HttpClientResponse.fromWeb(
        request,
        new Response(
          status === 204 || status === 304 ? null : body ?? (pieces === undefined ? "" : null),
          { status: status ?? 200, ...(headers === undefined ? undefined : { headers }) }
        )
      )
      return pieces === undefined ? response : Object.create(response, { stream: { value: drip(pieces) } })
    })
  const script: Script = {
    sent: [],
    inFlight: 0,
    inFlightMax: 0,
    layer: Layer.succeed(HttpClient.HttpClient)(
      HttpClient.make((request) =>
        Effect.acquireUseRelease(
          Effect.sync(() => {
            script.inFlight++
            script.inFlightMax = Math.max(script.inFlightMax, script.inFlight)
          }),
          () => answer(request),
          () =>
            Effect.sync(() => {
              script.inFlight--
            })
        )
      )
    )
  }
  return script
}

const drip = (pieces: NonNullable<Reply["pieces"]>) =>
  Stream.mapEffect(
    Stream.fromIterable(pieces),
    ({ afterMillis, text }) => Effect.as(Effect.sleep(afterMillis), new TextEncoder().encode(text))
  )
