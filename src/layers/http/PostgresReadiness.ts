import { Effect, Layer } from "effect"
import { Readiness } from "../../services/http/Readiness.ts"
import * as Deadline from "../../services/tasks/Deadline.ts"
import { ReadClient } from "../postgres/Database.ts"

const make = Effect.gen(function*() {
  const sql = yield* ReadClient
  // On a standby too, as a former primary is after a failover.
  const look = sql<{ readonly is_read_only: boolean }>`
    select current_setting('transaction_read_only') = 'on' as is_read_only`
  const problem = Deadline.within("1 second", { name: "the database", grace: 0 })(look).pipe(
    Effect.match({
      onFailure: (error) =>
        error._tag === "DeadlineExceeded"
          ? "the database does not answer within a second"
          : `the database does not answer: ${error.message}`,
      onSuccess: (rows) => rows[0]?.is_read_only === true ? "the database is read only" : undefined
    })
  )
  return Readiness.of({ problem })
})

/** Ready while the database answers and takes writes. */
export const layer: Layer.Layer<Readiness, never, ReadClient> = Layer.effect(Readiness, make)
