/** Worlds over a Postgres in process (PGlite), of one session: everything of the house, and transactions one after the other. */
import { Kernel } from "../kernel/Kernel.ts"
import type { Level, Store } from "./Level.ts"
import { inspectionOf, makeWatch, watchSql } from "./PgliteInspection.ts"
import type { PgliteServer } from "./PgliteServer.ts"
import * as SqlStore from "./SqlStore.ts"

/** Makes the schema in a server that has nothing yet. */
export const prepare = (server: PgliteServer): void => {
  server.attach(new Kernel(0))
  SqlStore.prepare(server)
}

/** The tables, without what the migrations put there. */
const emptied = `do $$ declare names text; begin
  select string_agg(format('%I.%I', schemaname, tablename), ', ') into names from pg_tables
  where schemaname = 'sluice' and tablename not like 'migrations%' and tablename not like 'job_history_2%';
  set local session_replication_role = replica;
  execute 'truncate effects, ' || names || ' restart identity cascade';
  update shelf set v = 0;
end $$`

/** A store of that server; one world at a time. */
export const level = (server: PgliteServer): Level => ({
  name: "pglite",
  open: (kernel, network): Store => {
    server.attach(kernel)
    server.exec(emptied)
    server.exec(watchSql)
    server.watch = makeWatch()
    return SqlStore.make(server, network, inspectionOf(server))
  }
})
