/** A server that outlived its supervisor: found through its pid file, recognised for sure, and stopped. */
import { execFileSync } from "node:child_process"
import { readFileSync, readlinkSync, realpathSync, rmSync } from "node:fs"
import { connect } from "node:net"
import { basename, join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { Failure } from "./Failure.ts"
import * as Files from "./Files.ts"

const pollMillis = 10
/** A fast shutdown writes a checkpoint; then an immediate one, which the next start repairs. */
const patience: ReadonlyArray<readonly [signal: NodeJS.Signals, millis: number]> = [
  ["SIGINT", 30_000],
  ["SIGQUIT", 10_000],
  ["SIGKILL", 5000]
]

/** The pid in the server's pid file, if it has one. */
export const readPid = (cluster: string): number | undefined => {
  try {
    const pid = Number(readFileSync(join(cluster, "postmaster.pid"), "utf8").split("\n")[0])
    return Number.isInteger(pid) && pid > 1 ? pid : undefined
  } catch {
    return undefined
  }
}

/** Whether the server's pid file says that it accepts connections (pg_ctl looks at the same line). */
export const isReady = (cluster: string, pid: number): boolean => {
  try {
    const lines = readFileSync(join(cluster, "postmaster.pid"), "utf8").split("\n")
    return Number(lines[0]) === pid && lines[7]?.trim() === "ready"
  } catch {
    return false
  }
}

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // Not ours to signal, but there.
    return error instanceof Error && "code" in error && error.code === "EPERM"
  }
}

/**
 * Whether that process is the server of this directory. A pid alone proves nothing: after a reboot or in a new container
 * it may be anyone's. A server's working directory is its data directory.
 */
const serves = (pid: number, cluster: string): boolean => {
  try {
    if (process.platform === "linux") return readlinkSync(`/proc/${pid}/cwd`) === realpathSync(cluster)
    return execFileSync("ps", ["-o", "command=", "-p", String(pid)], { encoding: "utf8" }).includes(cluster)
  } catch {
    return false
  }
}

/** Whether someone accepts connections on the server's socket: true through a shared volume, where pids mean nothing. */
const answers = (cluster: string): Promise<boolean> => {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  // Relative to our own directory, because the absolute path may be too long for a socket.
  const socket = connect({ path: join(basename(cluster), Files.serverSocket) })
  socket.once("connect", () => resolve(true))
  socket.once("error", () => resolve(false))
  return promise.finally(() => socket.destroy())
}

/** Stops a server left behind on this directory, and clears a pid file that nobody stands behind. */
export const clear = async (cluster: string, logFile: string, report: (text: string) => void): Promise<void> => {
  const pid = readPid(cluster)
  if (pid === undefined || !isAlive(pid) || !serves(pid, cluster)) {
    if (await answers(cluster)) {
      const detail = "a server that is not visible from here (another container?) runs on the same data"
      throw new Failure({ _tag: "ServerFailed", detail, logFile })
    }
    rmSync(join(cluster, "postmaster.pid"), { force: true })
    return
  }
  report("stopping a database server that its owner left behind")
  for (const [signal, millis] of patience) {
    process.kill(pid, signal)
    for (let waited = 0; waited < millis; waited += pollMillis) {
      if (!isAlive(pid) || !serves(pid, cluster)) return
      await sleep(pollMillis)
    }
  }
  throw new Failure({ _tag: "ServerFailed", detail: `the server with pid ${pid} from before does not stop`, logFile })
}
