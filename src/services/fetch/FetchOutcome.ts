/**
 * What became of one URL: the line that a run prints, and the row that it keeps. Field order is the printed order.
 */
import { Schema } from "effect"
import { FetchError } from "./FetchError.ts"

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

const encode = Schema.encodeSync(FetchError)

/** A typed error as the data that an outcome carries. */
export const failure = (error: FetchError): FetchFailure => {
  const { _tag, ...fields } = encode(error)
  return { _tag, message: error.message, ...fields }
}
