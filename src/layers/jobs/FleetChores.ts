/** What any worker does for the whole fleet: takes back the jobs of lost workers, and makes due jobs ready. */
import type * as PgClient from "@effect/sql-pg/PgClient"
import { Clock, Effect } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import type { JobQueueError } from "../../services/jobs/JobError.ts"
import type { Membership } from "../../services/jobs/JobStore.ts"
import * as Columns from "../postgres/Columns.ts"
import type { JobConnections } from "./JobConnections.ts"

/** Who holds jobs of lost workers is told of this often. */
const tellEveryMillis = 10_000

interface Recovered {
  readonly recovered: number
  readonly held: number
}

interface Promoted {
  readonly next_due: number | null
}

interface Holder {
  readonly worker: number
  readonly jobs: number
  readonly holder: number | null
  readonly doing: string | null
}

/** Two transactions, of which none waits for anybody. What fails is found again by the next beat, of whomever. */
export const make = (connections: JobConnections): Effect.Effect<Membership["tend"]> =>
  Effect.sync(() => {
    let toldAtMillis = -tellEveryMillis
    return (lost, isDue) =>
      Effect.gen(function*() {
        const done = lost.length === 0 ? { recovered: 0, held: 0 } : yield* recover(connections, lost)
        const now = yield* Clock.currentTimeMillis
        if (done.held > 0 && now - toldAtMillis >= tellEveryMillis) {
          toldAtMillis = now
          yield* tell(connections)
        }
        return { ...done, nextDueMillis: isDue ? yield* promote(connections) : undefined }
      })
  })

const recover = ({ ask, control }: JobConnections, lost: ReadonlyArray<number>) =>
  Effect.map(
    ask("recovery")(control.unsafe<Recovered>("select * from sluice.job_recover($1)", [Columns.ints(lost)])),
    ([row]) => row ?? { recovered: 0, held: 0 }
  )

const promote = ({ ask, control }: JobConnections): Effect.Effect<number | undefined, JobQueueError> =>
  Effect.map(
    ask("promotion")(control.unsafe<Promoted>("select * from sluice.job_promote()")),
    ([row]) => row?.next_due ?? undefined
  )

/** Says who is in the way. */
const tell = ({ ask, control }: JobConnections): Effect.Effect<void, JobQueueError> =>
  Effect.flatMap(
    ask("recovery")(holders(control)),
    (rows) =>
      Effect.forEach(rows, ({ doing, holder, jobs, worker }) =>
        Effect.logWarning(
          `jobs: ${jobs} job(s) of lost worker ${worker} cannot be taken back yet: ${
            holder === null ? "somebody has them locked" : `the session with pid ${holder} has them locked (${doing})`
          }; see sluice.job_stuck`
        ), { discard: true })
  )

const holders = (sql: PgClient.PgClient): Effect.Effect<ReadonlyArray<Holder>, SqlError> =>
  sql<
    Holder
  >`select worker, holder, min(doing) as doing, count(*)::int4 as jobs from sluice.job_stuck group by 1, 2 order by 1, 2 limit 10`
