import { Schema } from "effect"

/**
 * Free text that any store can hold: one line, so long, without control characters (Postgres cannot store NUL) and halves of surrogate
 * pairs (they are no text).
 */
export const plainText = (minimum: number, maximum: number) =>
  Schema.String.check(
    Schema.isMinLength(minimum),
    Schema.isMaxLength(maximum),
    Schema.isPattern(/^[^\p{Cc}\p{Cs}]*$/u, {
      expected: "text without control characters and lone surrogates",
      description: "One line of text, without control characters."
    })
  )
