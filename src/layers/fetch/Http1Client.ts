/**
 * Effect's `HttpClient` as an HTTP/1.1 user agent over Node's sockets, lean: no promise, no Node stream and no abort controller between
 * the socket and the fiber. Every combinator of `effect/http/HttpClient` works on it.
 */
import { Duration, Effect, Layer } from "effect"
import * as Headers from "effect/http/Headers"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Url from "effect/http/Url"
import type { ConnectionOptions } from "node:tls"
import { TransportWatch } from "../../services/fetch/TransportWatch.ts"
import { BoundedMap } from "../../services/tasks/BoundedMap.ts"
import type { Answer } from "./dns/Answer.ts"
import * as Timers from "./dns/Timers.ts"
import { ConnectionPool } from "./http1/ConnectionPool.ts"
import { DnsCache, type DnsCacheOptions } from "./http1/DnsCache.ts"
import { Exchange, type Received } from "./http1/Exchange.ts"
import { Http1Response } from "./http1/Http1Response.ts"
import * as OpenFilesLimit from "./http1/OpenFilesLimit.ts"
import * as RequestBody from "./http1/RequestBody.ts"
import * as RequestHead from "./http1/RequestHead.ts"
import { RequestFault } from "./http1/WireFault.ts"

/** Names whose TLS sessions and habits are remembered, each. */
const namesMax = 1000

/** How the client keeps its connections. */
export interface Options {
  /** Idle connections in all; the longest idle is closed first. @default 1024, or an eighth of the files the process may open */
  readonly idleMax?: number | undefined
  /**
   * Open connections in all; a request that finds no room waits, and of its limits only `attempt` and `total` go on.
   *
   * @default three quarters of the files that the process may open, but for 40 at least
   */
  readonly socketsMax?: number | undefined
  /** How long an idle connection is kept when the server does not say. @default "10 seconds" */
  readonly keepAlive?: Duration.Input | undefined
  /** Largest response head in bytes. @default 65_536 */
  readonly headersMaxBytes?: number | undefined
  /** Bodies up to this many bytes are handed over whole. @default 65_536 */
  readonly inlineBytes?: number | undefined
  /** Trust and identity for https: `ca`, `cert`, `key`, `rejectUnauthorized`. */
  readonly tls?: ConnectionOptions | undefined
  /** How names are resolved and for how long that is remembered. @default as this machine's files say, for the time that DNS says */
  readonly dns?: DnsCacheOptions | undefined
}

/** What a resolver of one's own answers. */
export type DnsAnswer = Answer

/** An `HttpClient` of its own connections; closing the scope closes them. */
export const layer = (options: Options = {}): Layer.Layer<HttpClient.HttpClient> =>
  Layer.effect(HttpClient.HttpClient)(Effect.gen(function*() {
    const timers = yield* Timers.make
    const filesMax = yield* OpenFilesLimit.read
    const share = (most: number, divisor: number) => Math.max(8, Math.min(most, Math.floor(filesMax / divisor)))
    const dns = yield* Effect.acquireRelease(
      Effect.sync(() =>
        new DnsCache(timers, {
          lookupsMax: share(128, 8),
          slowMax: share(1024, 8),
          ...options.dns
        })
      ),
      (dns) => Effect.sync(() => dns.close())
    )
    const pool = yield* Effect.acquireRelease(
      Effect.sync(() =>
        new ConnectionPool(
          {
            dns,
            timers,
            sessions: new BoundedMap(namesMax),
            leavers: new BoundedMap(namesMax),
            tls: options.tls,
            keepAliveMillis: Duration.toMillis(options.keepAlive ?? "10 seconds"),
            headersMaxBytes: options.headersMaxBytes ?? 65_536
          },
          options.idleMax ?? share(1024, 8),
          options.socketsMax ?? Math.max(8, Math.min(filesMax * 3 / 4, filesMax - 40))
        )
      ),
      (pool) => Effect.promise(() => pool.close())
    )
    return make(pool, options.inlineBytes ?? 65_536)
  }))

const make = (pool: ConnectionPool, inlineBytes: number): HttpClient.HttpClient => {
  const send = (sending: Sending) => {
    const carry = (body: RequestBody.RequestBody) => exchange(pool, inlineBytes, sending, body)
    const body = RequestBody.ofKnown(sending.request.body)
    return body === undefined ? Effect.flatMap(RequestBody.of(sending.request), carry) : carry(body)
  }
  // For callers who are no fetcher: spans, propagation, `withScope`, abort when a response is dropped.
  const whole = HttpClient.make((request, url, signal) => send({ ...partsOf(request, url), watch: undefined, signal }))
  return HttpClient.makeWith<never, never, HttpClientError.HttpClientError, never>(
    Effect.flatMap((request) =>
      Effect.withFiber((fiber) => {
        const watch = fiber.getRef(TransportWatch)
        if (watch === undefined) return whole.execute(request)
        // The common case costs no parsing: nobody has changed the URL on the way.
        if (request.url === watch.target.url && request.urlParams.params.length === 0) {
          const { origin, path, url } = watch.target
          return send({ request, url, origin, path, watch, signal: undefined })
        }
        return Effect.flatMap(urlOf(request), (url) => send({ ...partsOf(request, url), watch, signal: undefined }))
      })
    ),
    Effect.succeed
  )
}

/** A request with its URL taken apart, and who looks on. */
interface Sending {
  readonly request: HttpClientRequest.HttpClientRequest
  readonly url: string
  readonly origin: string
  readonly path: string
  readonly watch: TransportWatch | undefined
  readonly signal: AbortSignal | undefined
}

const partsOf = (request: HttpClientRequest.HttpClientRequest, url: URL) => ({
  request,
  // Without its fragment.
  url: url.href.split("#")[0] ?? url.href,
  origin: url.origin,
  path: url.pathname + url.search
})

const urlOf = (request: HttpClientRequest.HttpClientRequest): Effect.Effect<URL, HttpClientError.HttpClientError> =>
  Effect.mapError(
    Effect.fromResult(Url.make(request.url, request.urlParams, undefined)),
    (cause) => new HttpClientError.HttpClientError({ reason: new HttpClientError.InvalidUrlError({ request, cause }) })
  )

const failed = (request: HttpClientRequest.HttpClientRequest, cause: unknown): HttpClientError.HttpClientError =>
  new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request, cause }) })

const exchange = (
  pool: ConnectionPool,
  inlineBytes: number,
  { origin, path, request, signal, url, watch }: Sending,
  body: RequestBody.RequestBody
): Effect.Effect<HttpClientResponse.HttpClientResponse, HttpClientError.HttpClientError> =>
  Effect.callback((resume) => {
    const headers = body.contentType === undefined
      ? request.headers
      : Headers.set(request.headers, "content-type", body.contentType)
    const line = { method: request.method, path, host: hostOf(origin) }
    const head = RequestHead.write(line, headers, body.length)
    if (head instanceof RequestFault) {
      if (body.content !== undefined && !(body.content instanceof Uint8Array)) body.content.destroy()
      return resume(Effect.fail(failed(request, head)))
    }
    const connection = pool.acquire(origin, watch?.denyPrivate === true)
    watch?.enter("connect")
    const settled = (cause: unknown, received: Received | undefined) =>
      resume(
        received === undefined
          ? Effect.fail(failed(request, cause))
          : Effect.succeed(new Http1Response(request, url, received))
      )
    const question = { method: request.method, head, body: body.content }
    const exchange = new Exchange({ pool, connection, question, watch, inlineBytes, settled })
    signal?.addEventListener("abort", () => exchange.abort(), { once: true })
    exchange.start()
    return Effect.sync(() => exchange.abort())
  })

/** Name and port of an origin, as the Host field has them. */
const hostOf = (origin: string): string => origin.slice(origin.indexOf("//") + 2)
