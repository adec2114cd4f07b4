/**
 * Effect's `HttpClientResponse` over an exchange.
 */
import { Effect, Inspectable, Option, Pipeable, type Schema, Stream } from "effect"
import * as Cookies from "effect/http/Cookies"
import * as Headers from "effect/http/Headers"
import * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import * as UrlParams from "effect/http/UrlParams"
import type * as Socket from "effect/socket/Socket"
import { Abandon, WholeBody } from "../../../services/fetch/TransportWatch.ts"
import type { Received } from "./Exchange.ts"

const formDecoder = new TextDecoder("utf-8", { ignoreBOM: true })

export class Http1Response extends Inspectable.Class
  implements HttpClientResponse.HttpClientResponse, WholeBody, Abandon
{
  readonly [HttpIncomingMessage.TypeId]: typeof HttpIncomingMessage.TypeId = HttpIncomingMessage.TypeId
  readonly [HttpClientResponse.TypeId]: typeof HttpClientResponse.TypeId = HttpClientResponse.TypeId
  readonly request: HttpClientRequest.HttpClientRequest
  readonly url: string
  private readonly received: Received
  private collected: Uint8Array<ArrayBuffer> | undefined = undefined

  constructor(request: HttpClientRequest.HttpClientRequest, url: string, received: Received) {
    super()
    this.request = request
    this.url = url
    this.received = received
  }

  get status(): number {
    return this.received.status
  }

  get headers(): Headers.Headers {
    return Headers.fromInput(this.received.headers)
  }

  get cookies(): Cookies.Cookies {
    const header = this.received.headers["set-cookie"]
    return header === undefined ? Cookies.empty : Cookies.fromSetCookie(header)
  }

  get remoteAddress(): Option.Option<string> {
    return Option.none()
  }

  get [WholeBody](): WholeBody[typeof WholeBody] {
    const { headers, whole } = this.received
    return whole === undefined ? undefined : { body: whole, headers }
  }

  [Abandon](): void {
    this.received.abort()
  }

  get stream(): Stream.Stream<Uint8Array, HttpClientError.HttpClientError> {
    return bodyStream(this.received, (cause) => this.decodeError(cause))
  }

  get arrayBuffer(): Effect.Effect<ArrayBuffer, HttpClientError.HttpClientError> {
    return Effect.map(this.bytes, (bytes) => bytes.buffer)
  }

  get text(): Effect.Effect<string, HttpClientError.HttpClientError> {
    return Effect.map(this.bytes, (bytes) => new TextDecoder().decode(bytes))
  }

  get json(): Effect.Effect<Schema.Json, HttpClientError.HttpClientError> {
    return Effect.flatMap(this.text, (text) =>
      Effect.try({
        try: (): Schema.Json => text === "" ? null : JSON.parse(text),
        catch: (cause) => this.decodeError(cause)
      }))
  }

  get urlParamsBody(): Effect.Effect<UrlParams.UrlParams, HttpClientError.HttpClientError> {
    return Effect.flatMap(this.bytes, (bytes) =>
      Effect.try({
        // A leading "?" is form data; URLSearchParams would drop it as a query prefix.
        try: () => UrlParams.fromInput(new URLSearchParams(formDecoder.decode(bytes).replace(/^\?/, "%3F"))),
        catch: (cause) => this.decodeError(cause)
      }))
  }

  get formData(): Effect.Effect<FormData, HttpClientError.HttpClientError> {
    return Effect.flatMap(this.bytes, (bytes) =>
      Effect.tryPromise({
        try: () => new Response(bytes, { headers: this.headers }).formData(),
        catch: (cause) => this.decodeError(cause)
      }))
  }

  get upgrade(): Effect.Effect<Socket.Socket, HttpClientError.HttpClientError> {
    return Effect.fail(
      new HttpClientError.HttpClientError({
        reason: new HttpClientError.StatusCodeError({
          request: this.request,
          response: this,
          description: "this client does not hand over connections: use NodeHttpClient.layerUndici for upgrades"
        })
      })
    )
  }

  override toJSON(): unknown {
    return HttpIncomingMessage.inspect(this, {
      _id: "HttpClientResponse",
      request: this.request.toJSON(),
      status: this.status
    })
  }

  pipe(): unknown {
    return Pipeable.pipeArguments(this, arguments)
  }

  /** The whole body in a buffer of its own; collected once. */
  private get bytes(): Effect.Effect<Uint8Array<ArrayBuffer>, HttpClientError.HttpClientError> {
    return Effect.suspend(() => {
      if (this.collected !== undefined) return Effect.succeed(this.collected)
      if (this.received.whole !== undefined) return Effect.succeed(this.collected = new Uint8Array(this.received.whole))
      return Effect.map(
        Stream.runCollect(this.stream),
        (chunks) => this.collected = new Uint8Array(Buffer.concat(chunks))
      )
    })
  }

  private decodeError(cause: unknown): HttpClientError.HttpClientError {
    return new HttpClientError.HttpClientError({
      reason: new HttpClientError.DecodeError({ request: this.request, response: this, cause })
    })
  }
}

/** The body of an exchange as a stream; leaving it early ends the exchange. */
const bodyStream = <E>(received: Received, onError: (cause: unknown) => E): Stream.Stream<Uint8Array, E> =>
  received.whole === undefined
    ? Stream.ensuring(
      Stream.mapError(Stream.fromPull(Effect.succeed(received.pull)), onError),
      Effect.sync(() => received.abort())
    )
    : received.whole.length === 0
    ? Stream.empty
    : Stream.succeed(received.whole)
