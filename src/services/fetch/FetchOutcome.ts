/**
 * What became of one URL: the line that a run prints, and the row that it keeps. Field order is the printed order.
 */
import { Schema } from "effect"
import { FetchError } from "./FetchError.ts"
import { type FetchRequest, Method } from "./FetchRequest.ts"

/** A failure as data: the error's tag, its message and its own fields. */
export const FetchFailure = Schema.StructWithRest(
  Schema.Struct({ _tag: Schema.String, message: Schema.String }),
  [Schema.Record(Schema.String, Schema.Json)]
)

/** A failure as data: the error's tag, its message and its own fields. */
export type FetchFailure = typeof FetchFailure.Type

/** One recorded outcome; every field is JSON as it stands. */
export const FetchOutcome = Schema.Struct({
  /** As the input had it. */
  url: Schema.String,
  method: Method,
  /** What its line of the input calls itself; `null` when it does not. */
  id: Schema.Json,
  /** The input that it comes from (a file's name, `stdin`, `argument`) and its line there, from 1; `null` when it comes from none. */
  source: Schema.NullOr(Schema.String),
  line: Schema.NullOr(Schema.Int),
  /** What else its line of the input had and was kept. */
  input: Schema.NullOr(Schema.Record(Schema.String, Schema.Json)),
  /** After redirects; `null` when no response came. */
  finalUrl: Schema.NullOr(Schema.String),
  ok: Schema.Boolean,
  status: Schema.NullOr(Schema.Int),
  /** Requests that were sent, the first included. */
  attempts: Schema.Int,
  /** Length of the body, decoded. */
  bytes: Schema.Int,
  /** Lower-case hex of the decoded body; `null` when there is none. */
  sha256: Schema.NullOr(Schema.String),
  contentType: Schema.NullOr(Schema.String),
  /** ISO 8601, UTC. */
  startedAt: Schema.String,
  /** From the first attempt's start to the last one's end, waits included. */
  durationMs: Schema.Finite,
  savedTo: Schema.NullOr(Schema.String),
  error: Schema.NullOr(FetchFailure)
})

/** One recorded outcome. */
export type FetchOutcome = typeof FetchOutcome.Type

/** The part of an outcome that is known before anything is sent. */
export const asked = ({ label, method }: FetchRequest) => ({
  method: method ?? "GET",
  id: label?.id ?? null,
  source: label?.source ?? null,
  line: label?.line ?? null,
  input: label?.input ?? null
})

const encode = Schema.encodeSync(FetchError)

/** A typed error as the data that an outcome carries. */
export const failure = (error: FetchError): FetchFailure => {
  const { _tag, ...fields } = encode(error)
  return { _tag, message: error.message, ...fields }
}
