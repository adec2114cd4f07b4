/**
 * The body of a request as it is written: bytes, or a stream of them.
 */
import * as NodeStream from "@effect/platform-node/NodeStream"
import { Effect } from "effect"
import type * as HttpBody from "effect/http/HttpBody"
import * as HttpClientError from "effect/http/HttpClientError"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import { Readable } from "node:stream"

export interface RequestBody {
  /** `undefined` when there is none. */
  readonly content: Uint8Array | Readable | undefined
  /** `undefined` when it is not known beforehand. */
  readonly length: number | undefined
  /** What it turned out to be, when the request cannot know that. */
  readonly contentType?: string | undefined
}

/** Forms up to this size are written with their length, larger ones in chunks. */
const formWholeBytes = 1024 * 1024

const none: RequestBody = { content: undefined, length: 0 }

const bytes = (content: Uint8Array): RequestBody => ({ content, length: content.length })

/** A body that takes no work; `undefined` for any other. */
export const ofKnown = (body: HttpBody.HttpBody): RequestBody | undefined => {
  if (body._tag === "Empty") return none
  if (body._tag === "Uint8Array") return bytes(body.body)
  if (body._tag !== "Raw") return undefined
  if (body.body === null || body.body === undefined) return none
  if (typeof body.body === "string") return bytes(Buffer.from(body.body))
  return body.body instanceof Uint8Array ? bytes(body.body) : undefined
}

type Failure = HttpClientError.HttpClientError

/** Any body. */
export const of = (request: HttpClientRequest.HttpClientRequest): Effect.Effect<RequestBody, Failure> => {
  const { body } = request
  const known = ofKnown(body)
  if (known !== undefined) return Effect.succeed(known)
  if (body._tag === "Stream") {
    return Effect.map(NodeStream.toReadable(body.stream), (content) => ({ content, length: body.contentLength }))
  }
  if (body._tag === "FormData") return ofForm(request, body.formData)
  if (body._tag !== "Raw") return Effect.succeed(none)
  const raw = body.body
  if (raw instanceof FormData) return ofForm(request, raw)
  if (raw instanceof Readable) return Effect.succeed({ content: raw, length: body.contentLength })
  return Effect.try({
    // What `fetch` takes for a body: Blob, URLSearchParams, ReadableStream, ArrayBuffer, async iterables of bytes.
    try: () => {
      const { contentType, ...rest } = ofResponse(new Response(raw as ConstructorParameters<typeof Response>[0]))
      return { ...rest, length: body.contentLength, contentType: request.headers["content-type"] ?? contentType }
    },
    catch: (cause) => unsendable(request, cause)
  })
}

const ofForm = (request: HttpClientRequest.HttpClientRequest, form: FormData): Effect.Effect<RequestBody, Failure> => {
  let size = 0
  for (const [name, value] of form) size += name.length + (typeof value === "string" ? value.length : value.size)
  const encoded = new Response(form)
  const contentType = encoded.headers.get("content-type") ?? undefined
  return size > formWholeBytes
    ? Effect.succeed(ofResponse(encoded))
    : Effect.map(
      Effect.tryPromise({ try: () => encoded.bytes(), catch: (cause) => unsendable(request, cause) }),
      (content) => ({ ...bytes(content), contentType })
    )
}

const ofResponse = (encoded: Response): RequestBody => {
  const contentType = encoded.headers.get("content-type") ?? undefined
  const content = encoded.body === null ? Readable.from([]) : Readable.fromWeb(encoded.body as never)
  return { content, length: undefined, contentType }
}

const unsendable = (request: HttpClientRequest.HttpClientRequest, cause: unknown): Failure =>
  new HttpClientError.HttpClientError({ reason: new HttpClientError.EncodeError({ request, cause }) })
