/** The vocabulary of all routes: what each may answer, and the parameters that several of them take. */
import { Schema } from "effect"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import * as Problem from "./Problem.ts"

/** A problem that brings headers, as a route answers it. */
const withHeaders = <A extends { readonly type: string }, I>(problem: Schema.Codec<A, I> & { new(): A }) => {
  const headers = Problem.headersOf(new problem())
  return problem.pipe(
    HttpApiSchema.encodeToWithHeaders({
      body: problem,
      headers: Object.fromEntries(Object.keys(headers).map((name) => [name, Schema.optionalKey(Schema.String)]))
    }, { decode: ({ body }) => body, encode: (body) => ({ body, headers }) })
  )
}

/** What every route may answer. */
export const common = [
  Problem.InvalidRequest,
  withHeaders(Problem.Unauthorized),
  Problem.Forbidden,
  withHeaders(Problem.Unavailable),
  Problem.DeadlineExceeded,
  Problem.Internal
] as const

/** What every route may answer that takes a body. */
export const withBody = [...common, Problem.PayloadTooLarge, Problem.UnsupportedMediaType] as const

/** What every route may answer that does a body's request once for each Idempotency-Key. */
export const keyed = [
  ...withBody,
  Problem.IdempotencyKeyMissing,
  withHeaders(Problem.IdempotencyKeyInFlight),
  Problem.IdempotencyKeyReused
] as const

/** The header of a key that is required; the handlers look at what it holds, for a problem of its own. */
export const KeyHeader = Schema.String.annotate({
  description: "1 to 255 printable ASCII characters: new for each request, and the same for each try of it."
})

/** Limit of a page, 1 to 200. */
export const Limit = Schema.String.annotate({ description: "How many on a page." }).check(
  Schema.isPattern(/^([1-9]\d?|1\d\d|200)$/u, { expected: "a whole number from 1 to 200" })
).pipe(Schema.decodeTo(Schema.FiniteFromString))

/** A cursor from an earlier page. */
export const CursorText = Schema.String.check(Schema.isMaxLength(200))

/** What every list may be asked for. */
export const paging = { limit: Schema.optionalKey(Limit), cursor: Schema.optionalKey(CursorText) }

/** What the document says about a route. */
export const documented = (summary: string, description: string) => OpenApi.annotations({ summary, description })
