/** Ready while the database answers. */
import { Effect, Layer } from "effect"
import { Readiness } from "../../services/http/Readiness.ts"
import { ReadClient } from "../postgres/Database.ts"

const make = Effect.gen(function*() {
  const sql = yield* ReadClient
  const problem = sql`select 1`.pipe(
    Effect.timeoutOrElse({ duration: "1 second", orElse: () => Effect.undefined }),
    Effect.match({
      onFailure: (error) => `the database does not answer: ${error.message}`,
      onSuccess: (rows) => rows === undefined ? "the database does not answer within a second" : undefined
    })
  )
  return Readiness.of({ problem })
})

/** Ready while the database answers. */
export const layer: Layer.Layer<Readiness, never, ReadClient> = Layer.effect(Readiness, make)
