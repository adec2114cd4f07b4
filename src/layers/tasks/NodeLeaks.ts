import { type Duration, Effect, Predicate } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as ChildProcess from "node:child_process"
import * as Channels from "node:diagnostics_channel"
import type { EventEmitter } from "node:events"
import * as Fs from "node:fs"
import process from "node:process"
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
  FSReqCallback: "file requests",
  FSReqPromise: "file requests",
  FSEventWrap: "watchers",
  StatWatcher: "watchers"
}

/**
 * Sockets, servers, timers, watchers, child processes, listeners of the process, open files and directories of this Node
 * process. Files are counted where the system lists them (`/proc/self/fd`). Node does not tell of timers and sockets that
 * were unref'd.
 */
export const count: Effect.Effect<Leaks.Counts> = Effect.sync(() => {
  const counts: Record<string, number> = { files: openFiles(), "process listeners": listeners() }
  for (const kind of process.getActiveResourcesInfo()) {
    const name = kinds[kind]
    if (name !== undefined) counts[name] = (counts[name] ?? 0) + 1
  }
  return counts
})

const listeners = (): number => process.eventNames().reduce((sum, event) => sum + process.listenerCount(event), 0)

const openFiles = (): number => {
  const directory = "/proc/self/fd"
  if (!Fs.existsSync(directory)) return 0
  return Fs.readdirSync(directory).filter((descriptor) => {
    // The listing itself used a descriptor that is gone by now: readlink then throws, hence the stat without throwing.
    const stat = Fs.statSync(`${directory}/${descriptor}`, { throwIfNoEntry: false })
    return stat !== undefined && (stat.isFile() || stat.isDirectory())
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
 * `Leaks.check` with everything that Node keeps open: fibers, tasks, sockets, servers, timers, watchers, worker threads,
 * child processes, listeners of the process, files and directories must be back at their count before the effect. Fibers
 * that something else runs (a `runFork` in a callback) and what was unref'd are not seen, but for threads and processes.
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
    const threads = watching("worker_threads", "worker", Threads.Worker, "exit")
    const processes = watching("child_process", "process", ChildProcess.ChildProcess, "close")
    const counted = Effect.all({ node: count, also: Effect.all(options?.also ?? {}) })
    return self.pipe(
      Leaks.check({
        settle: options?.settle,
        count: Effect.map(counted, ({ also, node }) => ({
          ...node,
          "worker threads": threads.live.size,
          processes: processes.live.size,
          ...also
        }))
      }),
      Effect.ensuring(Effect.sync(() => {
        threads.stop()
        processes.stop()
      }))
    )
  })

/** Node lists no worker threads, nor processes that were unref'd, but announces each new one. */
const watching = <A extends EventEmitter>(
  channel: string,
  key: string,
  kind: abstract new(...args: never) => A,
  end: string
) => {
  const live = new Set<A>()
  const onNew = (message: unknown) => {
    if (!Predicate.hasProperty(message, key) || !(message[key] instanceof kind)) return
    const one = message[key]
    live.add(one)
    one.once(end, () => live.delete(one))
  }
  Channels.subscribe(channel, onNew)
  return { live, stop: () => void Channels.unsubscribe(channel, onNew) }
}
