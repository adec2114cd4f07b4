/** What several routes read in a request's headers: the key that makes it repeatable, and how long it is ready to wait. */
import { Effect } from "effect"
import * as Problem from "../../services/http/Problem.ts"
import * as IdempotencyKey from "../../services/orders/IdempotencyKey.ts"

/** The longest that `Prefer: wait` waits, in seconds. */
const maxWaitSeconds = 30

/** The seconds that a `Prefer` header asks to wait (RFC 7240 section 4.3); 0 without one. */
export const waitSeconds = (prefer: string | undefined): number => {
  const match = prefer === undefined ? null : /(?:^|[,;\s])wait\s*=\s*"?(\d{1,6})"?/i.exec(prefer)
  return match === null ? 0 : Math.min(maxWaitSeconds, Number(match[1]))
}

/** The key of a request that needs one. */
export const keyOf = (header: string | undefined): Effect.Effect<string, Problem.IdempotencyKeyMissing> => {
  if (header === undefined) return Effect.fail(new Problem.IdempotencyKeyMissing())
  const key = IdempotencyKey.fromHeader(header)
  return key === undefined
    ? Effect.fail(new Problem.IdempotencyKeyMissing({ detail: "it must be 1 to 255 printable ASCII characters" }))
    : Effect.succeed(key)
}
