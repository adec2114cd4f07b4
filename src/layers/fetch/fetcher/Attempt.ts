/**
 * One attempt: a request, its whole body and its checksum. The fast path (a small body that came whole) costs two steps of a fiber.
 */
import { Effect, Result, Stream } from "effect"
import type * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import { createHash, hash } from "node:crypto"
import type { BodyStore } from "../../../services/fetch/BodyStore.ts"
import {
  AttemptTimeout,
  type BodyStoreError,
  BodyTooLarge,
  ConnectTimeout,
  DeadlineExceeded,
  type FetchError,
  HeadersTimeout,
  IdleTimeout
} from "../../../services/fetch/FetchError.ts"
import type { FetchTarget } from "../../../services/fetch/FetchRequest.ts"
import { isRedirect } from "../../../services/fetch/Redirect.ts"
import { Abandon, type TransportPhase, TransportWatch, WholeBody } from "../../../services/fetch/TransportWatch.ts"
import type { Alarm } from "./Alarm.ts"
import * as BodyDecoder from "./BodyDecoder.ts"
import type { Limits } from "./Limits.ts"
import { toFetchError } from "./TransportError.ts"

/** What an attempt ends with when it got a response. */
export interface AttemptEnd {
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

/** What is to become of bodies. */
export interface Wants {
  readonly store: BodyStore["Service"] | undefined
  /** Whether bodies are handed back in memory. */
  readonly keeps: boolean
}

const nothing = new Uint8Array(0)

/** A request under way, as its deadlines see it. */
export class Attempt implements TransportWatch {
  readonly target: FetchTarget
  readonly limits: Limits
  readonly denyPrivate: boolean
  /** Where it is in the list of those under way. */
  index = -1
  bytesReceived = 0
  phase: TransportPhase = "sent"
  /** The deadline that ended it. */
  expired: FetchError | undefined = undefined
  /** Ends it. */
  interrupt: () => void = () => {}
  private readonly alarm: Alarm
  private readonly startedAtMillis: number
  private readonly attemptEndsAtMillis: number
  private readonly totalEndsAtMillis: number
  private phaseEndsAtMillis: number

  /**
   * @param spentMillis what earlier hops of a redirect chain have taken of the attempt's time
   * @param totalEndsAtMillis when all attempts of this URL must be done
   */
  constructor(
    target: FetchTarget,
    limits: Limits,
    alarm: Alarm,
    nowMillis: number,
    spentMillis: number,
    totalEndsAtMillis: number
  ) {
    this.target = target
    this.limits = limits
    this.denyPrivate = limits.denyPrivate
    this.alarm = alarm
    this.attemptEndsAtMillis = nowMillis + limits.attemptMillis - spentMillis
    this.totalEndsAtMillis = totalEndsAtMillis
    this.startedAtMillis = nowMillis
    this.phaseEndsAtMillis = nowMillis + limits.connectMillis + limits.headersMillis
  }

  /** When the earliest of its deadlines passes. */
  endsAt(): number {
    return Math.min(this.phaseEndsAtMillis, this.attemptEndsAtMillis, this.totalEndsAtMillis)
  }

  enter(phase: TransportPhase): void {
    this.phase = phase
    this.phaseEndsAtMillis = phase === "headers"
      ? this.alarm.now() + this.limits.headersMillis
      : phase === "body"
      ? this.alarm.now() + this.limits.idleMillis
      // DNS, TCP and TLS share one limit.
      : this.startedAtMillis + this.limits.connectMillis
    this.alarm.scanBy(this.endsAt())
  }

  received(bytes: number): void {
    this.bytesReceived += bytes
    this.phaseEndsAtMillis = this.alarm.now() + this.limits.idleMillis
  }

  /** Ends it if a deadline has passed. */
  expire(nowMillis: number): void {
    if (this.expired !== undefined || this.endsAt() > nowMillis) return
    this.expired = this.timeout(nowMillis)
    this.interrupt()
  }

  private timeout(nowMillis: number): FetchError {
    const { bytesReceived, limits, target: { url } } = this
    const of = (limitMillis: number) => ({ url, limitMillis, bytesReceived })
    if (this.totalEndsAtMillis <= nowMillis) return new DeadlineExceeded(of(limits.totalMillis))
    if (this.attemptEndsAtMillis <= nowMillis) return new AttemptTimeout(of(limits.attemptMillis))
    if (this.phase === "body") return new IdleTimeout(of(limits.idleMillis))
    if (this.phase === "headers") return new HeadersTimeout(of(limits.headersMillis))
    if (this.phase === "sent") return new HeadersTimeout(of(limits.connectMillis + limits.headersMillis))
    return new ConnectTimeout(of(limits.connectMillis))
  }
}

/** Sends a request and takes its body; the attempt is told how it goes. */
export const run = (
  client: HttpClient.HttpClient,
  request: HttpClientRequest.HttpClientRequest,
  attempt: Attempt,
  wants: Wants
): Effect.Effect<AttemptEnd, HttpClientError.HttpClientError | FetchError> =>
  Effect.provideService(
    Effect.flatMap(client.execute(request), (response) => finish(response, attempt, wants)),
    TransportWatch,
    attempt
  )

/** A failure of `run` as the fetcher's own error. */
export const failureOf = (error: HttpClientError.HttpClientError | FetchError, attempt: Attempt): FetchError =>
  HttpClientError.isHttpClientError(error)
    ? toFetchError(error, { url: attempt.target.url, phase: attempt.phase, bytesReceived: attempt.bytesReceived })
    : error

export const headerOf = (headers: Headers, name: string): string | undefined => {
  const value = headers[name]
  return typeof value === "string" || value === undefined ? value : value.join(", ")
}

type Finish = Effect.Effect<AttemptEnd, HttpClientError.HttpClientError | FetchError>

const isEmpty = (status: number, attempt: Attempt): boolean =>
  status === 204 || attempt.target.request.method === "HEAD"

const finish = (response: HttpClientResponse.HttpClientResponse, attempt: Attempt, wants: Wants): Finish => {
  const { status } = response
  // A client that does not report its phases is in the body from here on.
  if (attempt.phase !== "body") attempt.enter("body")
  const whole = wholeOf(response)
  if (whole === undefined) {
    if (status >= 200 && status < 300) return streamed(response, response.headers, attempt, wants)
    const end: AttemptEnd = { status, headers: response.headers, bytes: 0, sha256: null, savedTo: null, body: nothing }
    return Effect.as(abandon(response), end)
  }
  const { body, headers } = whole
  if (status < 200 || status >= 300) {
    const bytes = isRedirect(status) ? 0 : body.length
    return Effect.succeed({ status, headers, bytes, sha256: null, savedTo: null, body: nothing })
  }
  const { limits, target: { url } } = attempt
  const coding = headers["content-encoding"]
  let decoded: Uint8Array | undefined = body
  if (coding !== undefined && !isEmpty(status, attempt)) {
    const codings = BodyDecoder.codings(headerOf(headers, "content-encoding"), url)
    if (Result.isFailure(codings)) return Effect.fail(codings.failure)
    const step = BodyDecoder.decodeWhole(body, codings.success, { url, ...limits })
    if (Result.isFailure(step)) return Effect.fail(step.failure)
    decoded = step.success
  }
  if (decoded === undefined || wants.store !== undefined) return streamed(response, headers, attempt, wants)
  if (decoded.length > limits.bodyMaxBytes) {
    return Effect.fail(new BodyTooLarge({ url, limitBytes: limits.bodyMaxBytes }))
  }
  return Effect.succeed({
    status,
    headers,
    bytes: decoded.length,
    sha256: hash("sha256", decoded, "hex"),
    savedTo: null,
    body: wants.keeps ? decoded : nothing
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
  attempt: Attempt,
  wants: Wants
): Finish =>
  Effect.scoped(Effect.gen(function*() {
    const { limits, target } = attempt
    const { url } = target
    const tooLarge = new BodyTooLarge({ url, limitBytes: limits.bodyMaxBytes })
    const codings = isEmpty(response.status, attempt)
      ? []
      : yield* Effect.fromResult(BodyDecoder.codings(headerOf(headers, "content-encoding"), url))
    const length = headerOf(headers, "content-length")
    if (codings.length === 0 && length !== undefined && Number(length) > limits.bodyMaxBytes) {
      yield* abandon(response)
      return yield* tooLarge
    }
    const decoder = yield* BodyDecoder.make(codings, { url, ...limits })
    const writer = wants.store === undefined ? undefined : yield* wants.store.writer(target)
    const sha256 = createHash("sha256")
    const kept: Array<Uint8Array> = []
    let bytes = 0
    const take = (chunks: ReadonlyArray<Uint8Array>) =>
      Effect.forEach(chunks, (chunk): Effect.Effect<void, BodyTooLarge | BodyStoreError> => {
        bytes += chunk.length
        if (bytes > limits.bodyMaxBytes) return Effect.fail(tooLarge)
        sha256.update(chunk)
        if (writer !== undefined) return writer.write(chunk)
        if (wants.keeps) kept.push(chunk)
        return Effect.void
      }, { discard: true })
    const reports = wholeOf(response) !== undefined || Abandon in response
    yield* Stream.runForEachArray(response.stream, (chunks) =>
      Effect.forEach(chunks, (chunk) => {
        if (!reports) attempt.received(chunk.length)
        return Effect.flatMap(decoder.push(chunk), take)
      }, { discard: true }))
    yield* Effect.flatMap(decoder.end, take)
    const savedTo = writer === undefined ? null : yield* writer.commit
    return {
      status: response.status,
      headers,
      bytes,
      sha256: sha256.digest("hex"),
      savedTo,
      body: kept.length === 0 ? nothing : Buffer.concat(kept)
    }
  }))
