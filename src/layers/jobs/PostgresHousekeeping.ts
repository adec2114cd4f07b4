/** What any worker does for the tables: adds counters up, makes the partitions of the history and takes old ones away. */
import type * as PgClient from "@effect/sql-pg/PgClient"
import { Clock, Effect, Exit } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { Outage } from "../../services/postgres/Outage.ts"

/** Partitions and retention are looked at this often, and this often after a look that failed; counters are folded at most this often. */
const partitionsEveryMillis = 3_600_000
const againMillis = 60_000
const foldEveryMillis = 1_000
/** Steps of a round: each day that is too old, and each chunk of rows without a partition, is one. */
const stepsMax = 1_000

/** Whether it was done; told of once until it works again. */
const attempt = (outage: Outage, doing: string) => <A>(self: Effect.Effect<A, SqlError>): Effect.Effect<boolean> =>
  Effect.matchCauseEffect(self, {
    onSuccess: () => Effect.as(outage.worked, true),
    onFailure: (cause) => Effect.as(outage.failed(doing, cause), false)
  })

/** Takes away what is too old, a day or a chunk of rows in each transaction. */
const retire = (sql: PgClient.PgClient, keepDays: number): Effect.Effect<void, SqlError> =>
  Effect.gen(function*() {
    for (let step = 0; step < stepsMax; step++) {
      const [row] = yield* sql<{ readonly more: boolean }>`select sluice.job_retire(${keepDays}::int4) as more`
      if (row?.more !== true) return
    }
  })

/** One look at the partitions of the history; whether all was done. What the new ones wait for does not keep the old ones. */
export const partitions = (sql: PgClient.PgClient, keepDays: number, outage: Outage): Effect.Effect<boolean> =>
  Effect.all([Effect.exit(sql`select sluice.job_partitions()`), Effect.exit(retire(sql, keepDays))]).pipe(
    Effect.flatMap(([made, retired]) => Exit.isFailure(made) ? made : retired),
    attempt(outage, "keeping the partitions")
  )

/** Keeps house for ever. */
export const housekeeping = (sql: PgClient.PgClient, keepDays: number): Effect.Effect<never> =>
  Effect.suspend(() => {
    const history = new Outage("jobs: the history's partitions are not kept")
    const counters = new Outage("jobs: counters are not added up")
    return Effect.ensuring(
      keep(sql, keepDays, { history, counters }),
      Effect.sync(() => {
        history.forget()
        counters.forget()
      })
    )
  })

const keep = (
  sql: PgClient.PgClient,
  keepDays: number,
  { counters, history }: { readonly history: Outage; readonly counters: Outage }
): Effect.Effect<never> =>
  Effect.gen(function*() {
    let partitionsAt = 0
    while (true) {
      const before = yield* Clock.currentTimeMillis
      if (before >= partitionsAt) {
        partitionsAt = before + ((yield* partitions(sql, keepDays, history)) ? partitionsEveryMillis : againMillis)
      }
      yield* attempt(counters, "folding counters")(sql`select sluice.job_fold()`)
      const spent = (yield* Clock.currentTimeMillis) - before
      // A held snapshot makes folding slow: it then takes at most a twentieth of the time.
      yield* Effect.sleep(Math.max(foldEveryMillis, spent * 20))
    }
  })
