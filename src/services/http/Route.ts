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

/** What every route may answer that stays open. */
export const followed = [withHeaders(Problem.TooManyConnections), withHeaders(Problem.UpgradeRefused)] as const

/** The header of a key that is required; the handlers look at what it holds, for a problem of its own. */
export const KeyHeader = Schema.String.annotate({
  description: "1 to 255 printable ASCII characters: new for each request, and the same for each try of it."
})

/** A whole number in a query: text to the decoder, an integer with its range in the document. */
export const wholeFromText = ({ maximum, minimum }: { readonly minimum: number; readonly maximum: number }) =>
  Schema.String.check(
    Schema.makeFilter(
      (digits: string) =>
        /^(?:0|[1-9]\d{0,15})$/.test(digits) && Number(digits) >= minimum && Number(digits) <= maximum,
      {
        expected: `a whole number from ${minimum} to ${maximum}`,
        // The document makes an integer of a text that has a range.
        toJsonSchema: () => ({ minimum, maximum })
      }
    )
  ).pipe(Schema.decodeTo(Schema.FiniteFromString))

/** Limit of a page, 1 to 200. */
export const Limit = wholeFromText({ minimum: 1, maximum: 200 })

/** A cursor from an earlier page. */
export const CursorText = Schema.String.check(Schema.isMaxLength(200))

/** What every list may be asked for. */
export const paging = { limit: Schema.optionalKey(Limit), cursor: Schema.optionalKey(CursorText) }

/** What the document says about a route: what it is for, and what each of its good answers means. */
export const documented = (
  summary: string,
  description: string,
  answers: Readonly<Record<number, string>>
) =>
  OpenApi.annotations({
    summary,
    description,
    transform: (operation) => ({
      ...operation,
      responses: Object.fromEntries(
        Object.entries(operation["responses"]).map(([status, response]) => [
          status,
          answers[Number(status)] === undefined
            ? response
            : { ...Object(response), description: answers[Number(status)] }
        ])
      )
    })
  })
