/**
 * What is known of hosts, over all runs: politeness outlives a process, and belongs to the host.
 *
 * Rows are written in the order of `host`, by one insert a transaction, after the run's own locks; so nothing deadlocks.
 */
import { Effect } from "effect"
import * as SqlClient from "effect/sql/SqlClient"

export const step = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  // state: a HostState; null when nothing is known any more, until the row is swept.
  yield* sql`create table sluice.fetch_host (
    host text primary key,
    state json,
    shut_until timestamptz not null,
    stale_at timestamptz not null
  ) with (fillfactor = 50)`
  yield* sql`create index fetch_host_stale on sluice.fetch_host (stale_at)`
})
