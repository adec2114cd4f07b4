/** Worlds over a real Postgres: transactions run beside each other, wait for each other's locks, and deadlock. */
import { Effect, Exit, Scope } from "effect"
import { chmodSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as EmbeddedPostgres from "../../../src/layers/postgres/EmbeddedPostgres.ts"
import { Kernel } from "../kernel/Kernel.ts"
import type { Level, Store } from "./Level.ts"
import { inspectionOf, makeWatch, watchSql } from "./PgliteInspection.ts"
import { PostgresServer } from "./PostgresServer.ts"
import * as SqlStore from "./SqlStore.ts"

/** Nothing of the server's own that comes when it likes, and no plan that depends on the machine. */
const settings = {
  autovacuum: "off",
  fsync: "off",
  full_page_writes: "off",
  jit: "off",
  max_connections: "300",
  max_parallel_workers_per_gather: "0",
  synchronize_seqscans: "off",
  synchronous_commit: "off"
}

/** A server of its own, and how to take it away again. It takes a few seconds: use one for many seeds. */
export const start = async (): Promise<{ readonly server: PostgresServer; readonly stop: () => Promise<void> }> => {
  const directory = mkdtempSync(join(tmpdir(), `sluice-own-${process.pid}-`))
  chmodSync(directory, 0o755)
  const scope = await Effect.runPromise(Scope.make())
  const { socketPath } = await Effect.runPromise(
    EmbeddedPostgres.make({ directory, settings }).pipe(
      Effect.provideService(EmbeddedPostgres.Progress, () => Effect.void),
      Effect.provideService(Scope.Scope, scope)
    )
  )
  const server = new PostgresServer(socketPath, new Kernel(0))
  return {
    server,
    stop: async () => {
      await server.close()
      await Effect.runPromise(Scope.close(scope, Exit.void))
      rmSync(directory, { recursive: true, force: true })
    }
  }
}

/** Makes the schema in a server that has nothing yet. */
export const prepare = (server: PostgresServer): void => server.prepare(() => SqlStore.prepare(server))

/** A store of that server; one world at a time. */
export const level = (server: PostgresServer): Level => ({
  name: "postgres",
  open: (kernel, network): Store => {
    server.attach(kernel)
    server.exec(watchSql)
    server.watch = makeWatch()
    return SqlStore.make(server, network, inspectionOf(server))
  }
})
