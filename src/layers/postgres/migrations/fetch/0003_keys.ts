/** The idempotency keys of requests that begin runs. A key is kept for ever; until there is an answer it is claimed by one try at a time. */
import { Effect } from "effect"
import * as SqlClient from "effect/sql/SqlClient"

export const step = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  // answer: a RunSummary as it was first told.
  yield* sql`create table sluice.fetch_key (
    key text collate "C" primary key,
    fingerprint text not null,
    run text not null,
    token uuid not null,
    claimed_until timestamptz not null,
    answer json
  )`
})
