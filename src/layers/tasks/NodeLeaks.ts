import { type Duration, Effect, Predicate } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Channels from "node:diagnostics_channel"
import * as Fs from "node:fs"
import * as Process from "node:process"
import * as Threads from "node:worker_threads"
import * as Leaks from "../../services/tasks/Leaks.ts"

/** The names that Node gives to what it keeps open, by the kind that we report. */
const kinds: Readonly<Record<string, string>> = {
  TCPSocketWrap: "sockets",
  PipeWrap: "sockets",
  UDPWRAP: "sockets",
  UDPWrap: "sockets",
  TCPServerWrap: "servers",
  PipeServerWrap: "servers",
  Timeout: "timers",
  MessagePort: "message ports",
  ProcessWrap: "processes",
  FSReqCallback: "file requests",
  FSReqPromise: "file requests"
}

/**
 * Sockets, servers, timers, child processes and open files of this Node process. Open files are counted where the system
 * lists them (`/proc/self/fd`).
 */
export const count: Effect.Effect<Leaks.Counts> = Effect.sync(() => {
  const counts: Record<string, number> = { files: openFiles() }
  for (const kind of Process.getActiveResourcesInfo()) {
    const name = kinds[kind]
    if (name !== undefined) counts[name] = (counts[name] ?? 0) + 1
  }
  return counts
})

const openFiles = (): number => {
  const directory = "/proc/self/fd"
  if (!Fs.existsSync(directory)) return 0
  return Fs.readdirSync(directory).filter((descriptor) => {
    // The listing itself used a descriptor that is gone by now: readlink then throws, hence the stat without throwing.
    const stat = Fs.statSync(`${directory}/${descriptor}`, { throwIfNoEntry: false })
    return stat !== undefined && stat.isFile()
  }).length
}

/** How many other connections the server has to this database: count it before and after to find leaked ones. */
export const pgConnections: Effect.Effect<number, SqlError, SqlClient.SqlClient> = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const rows = yield* sql<{ readonly count: number }>`
    select count(*)::int as count from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`
  return rows[0]?.count ?? 0
})

/**
 * `Leaks.check` with everything that Node keeps open: fibers, tasks, sockets, servers, timers, worker threads, child
 * processes and files must be back at their count before the effect.
 *
 * @default settle "2 seconds"
 */
export const check = (options?: {
  readonly settle?: Duration.Input | undefined
  /** More to count, by kind: `{ "pg connections": Effect.orDie(pgConnections) }` with its services provided. */
  readonly also?: Readonly<Record<string, Effect.Effect<number>>> | undefined
}) =>
<A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | Leaks.LeakFound, R> =>
  Effect.suspend(() => {
    const threads = watchThreads()
    const counted = Effect.all({ node: count, also: Effect.all(options?.also ?? {}) })
    return self.pipe(
      Leaks.check({
        settle: options?.settle,
        count: Effect.map(counted, ({ also, node }) => ({ ...node, "worker threads": threads.live.size, ...also }))
      }),
      Effect.ensuring(Effect.sync(threads.stop))
    )
  })

/** Node lists no worker threads, but announces each new one. */
const watchThreads = () => {
  const live = new Set<Threads.Worker>()
  const onThread = (message: unknown) => {
    if (!Predicate.hasProperty(message, "worker") || !(message.worker instanceof Threads.Worker)) return
    const worker = message.worker
    live.add(worker)
    worker.once("exit", () => live.delete(worker))
  }
  Channels.subscribe("worker_threads", onThread)
  return { live, stop: () => void Channels.unsubscribe("worker_threads", onThread) }
}
