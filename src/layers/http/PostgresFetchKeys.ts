import * as PgClient from "@effect/sql-pg/PgClient"
import { Effect, Layer } from "effect"
import type { RunSummary } from "../../services/fetch/Frontier.ts"
import { claimSeconds, FetchKeys, FetchKeysError } from "../../services/http/FetchKeys.ts"
import { KeyInFlight, KeyReused } from "../../services/orders/OrdersError.ts"
import * as SqlFailure from "../../services/postgres/SqlFailure.ts"
import * as Database from "../postgres/Database.ts"
import type { DatabaseError } from "../postgres/DatabaseError.ts"
import * as Operation from "../postgres/Operation.ts"

interface KeyRow {
  readonly fingerprint: string
  /** As `finish` wrote it. */
  readonly answer: RunSummary | null
}

const named = (operation: string) =>
  Operation.named((cause) => new FetchKeysError({ operation, reason: SqlFailure.reasonOf(cause), cause }))

const make = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient

  return FetchKeys.of({
    begin: Effect.fn("FetchKeys.begin")(function*({ fingerprint, key, run, token }) {
      const claimed = yield* sql<{ readonly run: string }>`
        insert into sluice.fetch_key as k (key, fingerprint, run, token, claimed_until)
        values (${key}, ${fingerprint}, ${run}, ${token}::uuid, now() + make_interval(secs => ${claimSeconds}))
        on conflict (key) do update set token = excluded.token, claimed_until = excluded.claimed_until
          where k.answer is null and k.claimed_until <= now() and k.fingerprint = excluded.fingerprint
        returning run`
      if (claimed[0] !== undefined) {
        return { _tag: "Claimed", claim: { key, run: claimed[0].run, token } } as const
      }
      const known = yield* sql<KeyRow>`select fingerprint, answer from sluice.fetch_key where key = ${key}`
      if (known[0] === undefined) return yield* new KeyInFlight({ key })
      if (known[0].fingerprint !== fingerprint) return yield* new KeyReused({ key })
      if (known[0].answer === null) return yield* new KeyInFlight({ key })
      return { _tag: "Replayed", answer: known[0].answer } as const
    }, named("begin")),
    finish: Effect.fn("FetchKeys.finish")(function*({ key, token }, answer) {
      const kept = yield* sql<{ readonly key: string }>`
        update sluice.fetch_key set answer = ${JSON.stringify(answer)}::text::json
        where key = ${key} and token = ${token}::uuid and answer is null returning key`
      return yield* kept.length === 0 ? new KeyInFlight({ key }) : Effect.void
    }, named("finish")),
    release: Effect.fn("FetchKeys.release")(function*({ key, token }) {
      yield* sql`update sluice.fetch_key set claimed_until = now()
        where key = ${key} and token = ${token}::uuid and answer is null`
    }, named("release"))
  })
})

/** The keys of fetch runs in Postgres. */
export const layer: Layer.Layer<FetchKeys, DatabaseError, PgClient.PgClient | Database.Database> = Layer.effect(
  FetchKeys,
  Effect.andThen(Database.tables("fetch"), make)
)
