/** The key by which a repeated request is known (draft-ietf-httpapi-idempotency-key-header-06). */
import { Schema } from "effect"

/** 1 to 255 printable ASCII characters without quotes and backslashes. */
export const IdempotencyKey = Schema.String.check(
  Schema.isPattern(/^[\x21\x23-\x5b\x5d-\x7e]{1,255}$/, { expected: "1 to 255 printable ASCII characters" })
)

/**
 * The key in a header's value, undefined when it holds none. The draft has a structured-field string (in double quotes); the bare form is
 * taken too, because most clients send it.
 */
export const fromHeader = (value: string | undefined): string | undefined => {
  if (value === undefined) return undefined
  const trimmed = value.trim()
  const bare = trimmed.length >= 2 && trimmed.startsWith("\"") && trimmed.endsWith("\"")
    ? trimmed.slice(1, -1)
    : trimmed
  return isKey(bare) ? bare : undefined
}

const isKey = Schema.is(IdempotencyKey)
