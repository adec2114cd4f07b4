/** Free text that any store can hold. */
import { Schema } from "effect"

/** Text of so many characters without NUL (Postgres cannot store it) and without halves of surrogate pairs (they are no text). */
export const plainText = (minimum: number, maximum: number) =>
  Schema.String.check(
    Schema.isMinLength(minimum),
    Schema.isMaxLength(maximum),
    Schema.isPattern(/^[^\u0000\ud800-\udfff]*$/u, { expected: "text without NUL and lone surrogates" })
  )
