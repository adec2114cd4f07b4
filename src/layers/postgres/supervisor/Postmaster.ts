/** One running server: its settings, its start, and its end. */
import type { ChildProcess } from "node:child_process"
import { chownSync, closeSync, openSync, readSync, renameSync, statSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import * as Cluster from "./Cluster.ts"
import { Failure } from "./Failure.ts"
import * as Orphan from "./Orphan.ts"
import * as Owner from "./Owner.ts"

const pollMillis = 5
const startMillis = 600_000
const stopMillis = 60_000
const logBytes = 4 * 1024 * 1024
/** A killed server's processes hold its memory for a moment, an orphan that dies as we come its pid file. */
const heldAttempts = 100
const heldPauseMillis = 100
/** After this long a person is told what they wait for. */
const slowMillis = 2000

/**
 * For an application with some tens of connections on its own machine. What makes a commit durable is said, not assumed.
 * Nothing replicates from here, so the log is kept minimal and the processes for it are not started.
 */
const settings: Readonly<Record<string, string>> = {
  listen_addresses: "",
  // Relative to the data directory, which only its owner can enter: no length limit, no other user.
  unix_socket_directories: ".",
  unix_socket_permissions: "0700",
  fsync: "on",
  synchronous_commit: "on",
  full_page_writes: "on",
  max_connections: "200",
  shared_buffers: "128MB",
  wal_level: "minimal",
  max_wal_senders: "0",
  max_logical_replication_workers: "0",
  max_wal_size: "2GB",
  checkpoint_timeout: "15min",
  io_method: "sync",
  jit: "off",
  max_parallel_workers_per_gather: "0",
  autovacuum_naptime: "10s",
  // A statement of a killed client ends within a second, with the locks it holds.
  client_connection_check_interval: "1s",
  // Each failed statement is its client's to tell: the log keeps what concerns the server.
  log_min_messages: "log",
  log_min_error_statement: "panic",
  log_checkpoints: "off",
  timezone: "UTC",
  log_timezone: "UTC"
}

export interface Postmaster {
  readonly pid: number
  /** Resolves with the output since its start, when it has ended. */
  readonly ended: Promise<string>
  readonly stop: () => Promise<void>
}

const readFrom = (file: string, offset: number): string => {
  const size = Math.min(Math.max(statSync(file).size - offset, 0), 65_536)
  const buffer = Buffer.alloc(size)
  const descriptor = openSync(file, "r")
  readSync(descriptor, buffer, 0, size, offset)
  closeSync(descriptor)
  return buffer.toString()
}

const openLog = (options: Cluster.ClusterOptions): { readonly descriptor: number; readonly offset: number } => {
  const { logFile } = options
  if ((statSync(logFile, { throwIfNoEntry: false })?.size ?? 0) > logBytes) renameSync(logFile, `${logFile}.old`)
  const descriptor = openSync(logFile, "a", 0o600)
  const { uid, gid } = statSync(options.directory)
  // Root may lend a hand in a user's directory: what it leaves there must stay the user's.
  if (options.owner.switches) chownSync(logFile, uid, gid)
  return { descriptor, offset: statSync(logFile).size }
}

const launch = (
  cluster: string,
  options: Cluster.ClusterOptions,
  extra: Readonly<Record<string, string>>,
  descriptor: number
): ChildProcess => {
  const program = join(options.binaries.native, "bin", "postgres")
  const args = Object.entries({ ...settings, ...extra }).flatMap(([name, value]) => ["-c", `${name}=${value}`])
  const command = [program, "-D", Owner.directoryArgument(options.owner, cluster), ...args]
  return Owner.spawnAs(options.owner, command, "INT", {
    cwd: cluster,
    env: { LC_ALL: "C" },
    stdio: ["ignore", descriptor, descriptor]
  })
}

const startOnce = async (
  cluster: string,
  options: Cluster.ClusterOptions,
  extra: Readonly<Record<string, string>>
): Promise<Postmaster> => {
  const { descriptor, offset } = openLog(options)
  const child = launch(cluster, options, extra, descriptor)
  closeSync(descriptor)
  let over = false
  const { promise: ended, resolve } = Promise.withResolvers<string>()
  const end = (error?: Error): void => {
    over = true
    resolve(error === undefined ? readFrom(options.logFile, offset) : `FATAL: ${error.message}`)
  }
  child.once("exit", () => end())
  child.once("error", end)
  const pid = child.pid ?? 0
  const stop = async (): Promise<void> => {
    if (over) return
    child.kill("SIGINT")
    const timer = setTimeout(() => child.kill("SIGQUIT"), stopMillis)
    await ended
    clearTimeout(timer)
  }
  for (let waited = 0; waited < startMillis; waited += pollMillis) {
    if (over) throw Cluster.explain(await ended, options)
    if (Orphan.isReady(cluster, pid)) return { pid, ended, stop }
    await sleep(pollMillis)
  }
  await stop()
  throw new Failure({ _tag: "ServerFailed", detail: "it was not ready in ten minutes", logFile: options.logFile })
}

const isHeld = (error: unknown): boolean =>
  error instanceof Failure && "detail" in error.reason &&
  /pre-existing shared memory block|lock file .* already exists/.test(error.reason.detail)

/** Starts the server on a prepared cluster, where none may be running, and waits until it accepts connections. */
export const start = async (
  cluster: string,
  options: Cluster.ClusterOptions,
  extra: Readonly<Record<string, string>>,
  report: (text: string) => void
): Promise<Postmaster> => {
  for (let attempt = 1;; attempt++) {
    await Orphan.clear(cluster, options.logFile, report)
    const slow = setTimeout(() => report("the database is still starting; after a crash it recovers first"), slowMillis)
    try {
      return await startOnce(cluster, options, extra)
    } catch (error) {
      if (!isHeld(error) || attempt === heldAttempts) throw error
      await sleep(heldPauseMillis)
    } finally {
      clearTimeout(slow)
    }
  }
}
