/**
 * The transfer of an attempt: a request, the whole body of its response and the checksum. The fast path (a small body that came whole)
 * costs two steps of a fiber.
 */
import { Effect, Option, Result, Stream } from "effect"
import type * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import { hash } from "node:crypto"
import { BodyTooLarge, type FetchError, ProtocolError } from "../../../services/fetch/FetchError.ts"
import * as Redact from "../../../services/fetch/Redact.ts"
import { isRedirect } from "../../../services/fetch/Redirect.ts"
import { Abandon, TransportWatch, WholeBody } from "../../../services/fetch/TransportWatch.ts"
import type { Attempt } from "./Attempt.ts"
import * as BodyDecoder from "./BodyDecoder.ts"
import { BodySink } from "./BodySink.ts"
import { toFetchError } from "./TransportError.ts"

/** A response whose body was taken. */
export interface Reply {
  readonly status: number
  readonly headers: Headers
  /** Decoded bytes that were received. */
  readonly bytes: number
  /** Of the decoded body; `null` when the body was not wanted (redirects, errors). */
  readonly sha256: string | null
  readonly savedTo: string | null
  /** Empty unless it was to be kept. */
  readonly body: Uint8Array
}

type Headers = Readonly<Record<string, string | Array<string> | undefined>>

const nothing = new Uint8Array(0)

/** Sends a request and takes its body; the attempt is told how it goes. */
export const run = (
  client: HttpClient.HttpClient,
  request: HttpClientRequest.HttpClientRequest,
  attempt: Attempt
): Effect.Effect<Reply, HttpClientError.HttpClientError | FetchError> =>
  Effect.provideService(
    Effect.flatMap(client.execute(request), (response) => finish(response, attempt)),
    TransportWatch,
    attempt
  )

/** A failure of `run` as the fetcher's own error. */
export const failureOf = (error: HttpClientError.HttpClientError | FetchError, attempt: Attempt): FetchError =>
  HttpClientError.isHttpClientError(error)
    ? toFetchError(error, {
      url: Redact.url(attempt.target.url),
      phase: attempt.phase,
      bytesReceived: attempt.bytesReceived
    })
    : error

export const headerOf = (headers: Headers, name: string): string | undefined => {
  const value = headers[name]
  return typeof value === "string" || value === undefined ? value : value.join(", ")
}

type Finish = Effect.Effect<Reply, HttpClientError.HttpClientError | FetchError>

const isEmpty = (status: number, attempt: Attempt): boolean =>
  status === 204 || attempt.target.request.method === "HEAD"

const finish = (response: HttpClientResponse.HttpClientResponse, attempt: Attempt): Finish => {
  const { status } = response
  // A client that does not report its phases is in the body from here on.
  if (attempt.phase !== "body") attempt.enter("body")
  const whole = wholeOf(response)
  if (whole === undefined) {
    if (status >= 200 && status < 300) return streamed(response, response.headers, attempt)
    const end: Reply = { status, headers: response.headers, bytes: 0, sha256: null, savedTo: null, body: nothing }
    return Effect.as(abandon(response), end)
  }
  const { body, headers } = whole
  if (status < 200 || status >= 300) {
    const bytes = isRedirect(status) ? 0 : body.length
    return Effect.succeed({ status, headers, bytes, sha256: null, savedTo: null, body: nothing })
  }
  // To be saved, or a part of something: that is for the sink.
  if (attempt.wants.store !== undefined || status === 206 || attempt.sink !== undefined) {
    return streamed(response, headers, attempt)
  }
  const { limits } = attempt
  const url = attempt.target.url
  let decoded: Uint8Array | undefined = body
  if (headers["content-encoding"] !== undefined && !isEmpty(status, attempt)) {
    const shown = { ...limits, url: Redact.url(url) }
    const codings = BodyDecoder.codings(headerOf(headers, "content-encoding"), shown.url)
    if (Result.isFailure(codings)) return Effect.fail(codings.failure)
    const step = BodyDecoder.decodeWhole(body, codings.success, shown)
    if (Result.isFailure(step)) return Effect.fail(step.failure)
    decoded = step.success
  }
  if (decoded === undefined) return streamed(response, headers, attempt)
  if (decoded.length > limits.bodyMaxBytes) {
    return Effect.fail(new BodyTooLarge({ url: Redact.url(url), limitBytes: limits.bodyMaxBytes }))
  }
  return Effect.succeed({
    status,
    headers,
    bytes: decoded.length,
    sha256: hash("sha256", decoded, "hex"),
    savedTo: null,
    body: attempt.wants.keeps ? decoded : nothing
  })
}

const wholeOf = (response: HttpClientResponse.HttpClientResponse): WholeBody[typeof WholeBody] =>
  WholeBody in response ? (response as HttpClientResponse.HttpClientResponse & WholeBody)[WholeBody] : undefined

/** Gives a response up whose body is not wanted. */
const abandon = (response: HttpClientResponse.HttpClientResponse): Effect.Effect<void> =>
  Abandon in response
    ? Effect.sync(() => (response as HttpClientResponse.HttpClientResponse & Abandon)[Abandon]())
    // Any other client lets go of a body whose stream is left early; how its first piece fails does not matter any more.
    : Effect.ignore(Stream.runHead(response.stream))

/** Takes a body piece by piece: decoded, counted, hashed, kept or saved. */
const streamed = (
  response: HttpClientResponse.HttpClientResponse,
  headers: Headers,
  attempt: Attempt
): Finish =>
  Effect.scoped(Effect.gen(function*() {
    const { limits, target } = attempt
    const url = Redact.url(target.url)
    const { codings, decoder, sink } = yield* Effect.onError(
      prepare(response, headers, attempt),
      () => abandon(response)
    )
    const reports = Abandon in response
    const cutBytes = attempt.wants.cutBytes ?? Infinity
    const stream = cutBytes === Infinity
      ? response.stream
      : Stream.takeWhile(response.stream, () => sink.bytes < cutBytes)
    const take = (chunks: ReadonlyArray<Uint8Array>) =>
      Effect.forEach(chunks, (chunk) => sink.take(chunk, limits.bodyMaxBytes, url), { discard: true })
    yield* Stream.runForEachArray(stream, (chunks) => {
      // One write for all that has come meanwhile: a disk takes few large ones faster than many small ones.
      const pieces = attempt.wants.store !== undefined && chunks.length > 1 ? [Buffer.concat(chunks)] : chunks
      if (!reports) { for (const chunk of pieces) attempt.received(chunk.length) }
      return held(
        attempt,
        Effect.forEach(pieces, (chunk) => Effect.flatMap(decoder.push(chunk), take), { discard: true })
      )
    })
    if (sink.bytes < cutBytes) {
      yield* held(attempt, Effect.flatMap(decoder.end, take))
      if (codings.length === 0) yield* Effect.fromResult(sink.whole(url))
    }
    const taken = yield* held(attempt, sink.finish)
    attempt.sink = undefined
    return { status: response.status, headers, ...taken }
  }))

/** Work on what has come (decoding, hashing, saving): that nothing comes meanwhile is not the server's doing. */
const held = <A, E>(attempt: Attempt, work: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.suspend(() => {
    attempt.hold(true)
    return Effect.onExit(work, () => Effect.sync(() => attempt.hold(false)))
  })

/** What a body goes through and where it goes, before the first piece of it is taken. */
const prepare = (
  response: HttpClientResponse.HttpClientResponse,
  headers: Headers,
  attempt: Attempt
) =>
  Effect.gen(function*() {
    const { limits, target } = attempt
    const url = Redact.url(target.url)
    const codings = isEmpty(response.status, attempt) || isDecoded(response)
      ? []
      : yield* Effect.fromResult(BodyDecoder.codings(headerOf(headers, "content-encoding"), url))
    // With codings undone the length says nothing about what comes.
    const length = isDecoded(response) ? undefined : lengthOf(headers)
    const isOver = codings.length === 0 && attempt.wants.cutBytes === undefined && length !== undefined &&
      length > limits.bodyMaxBytes
    if (isOver) return yield* new BodyTooLarge({ url, limitBytes: limits.bodyMaxBytes })
    const sink = yield* sinkFor(response, headers, attempt, codings.length > 0)
    if (sink.bytes === 0 && codings.length === 0 && !isEmpty(response.status, attempt)) {
      if (response.status === 200) sink.mayResume(headerOf(headers, "etag"), length)
      else if (response.status === 206) sink.expect(headerOf(headers, "content-range"))
    }
    return { codings, sink, decoder: yield* BodyDecoder.make(codings, { ...limits, url }) }
  })

/** `fetch` has undone the codings by itself, and leaves the header that names them. A `Response` that somebody made has no URL. */
const isDecoded = (response: HttpClientResponse.HttpClientResponse): boolean =>
  Option.exists(HttpClientResponse.toWeb(response), (web) => web.url !== "")

/** The Content-Length, also when it came several times; beside a Transfer-Encoding it says nothing. */
const lengthOf = (headers: Headers): number | undefined => {
  if (headers["transfer-encoding"] !== undefined) return undefined
  const length = headerOf(headers, "content-length")
  const bytes = length === undefined || length === "" ? Number.NaN : Number(length.split(",", 1)[0])
  return Number.isSafeInteger(bytes) ? bytes : undefined
}

/** The sink to go on with, or a new one: what an earlier attempt has is only used when this response is exactly its rest. */
const sinkFor = (
  response: HttpClientResponse.HttpClientResponse,
  headers: Headers,
  attempt: Attempt,
  isCoded: boolean
): Effect.Effect<BodySink, FetchError> =>
  Effect.gen(function*() {
    const earlier = attempt.sink
    if (response.status === 206 && !asksRange(attempt)) {
      const continues = earlier !== undefined && !isCoded &&
        earlier.continues(headerOf(headers, "etag"), headerOf(headers, "content-range"), lengthOf(headers))
      if (continues) return earlier
      yield* dropSink(attempt)
      return yield* new ProtocolError({
        url: Redact.url(attempt.target.url),
        code: earlier === undefined ? "UNSOLICITED_PARTIAL" : "BAD_CONTENT_RANGE",
        bytesReceived: attempt.bytesReceived
      })
    }
    yield* dropSink(attempt)
    const { asked: target, sinks, wants } = attempt
    const contentType = headerOf(headers, "content-type")
    return attempt.sink = yield* BodySink.make({ target, wants, contentType, sinks })
  })

const dropSink = (attempt: Attempt): Effect.Effect<void> => {
  const { sink } = attempt
  attempt.sink = undefined
  return sink === undefined ? Effect.void : sink.close
}

/** Whether the user has asked for a range: a 206 is then what was wanted. */
const asksRange = (attempt: Attempt): boolean =>
  Object.keys({ ...attempt.target.headers, ...attempt.target.request.headers }).some((name) =>
    name.toLowerCase() === "range"
  )
