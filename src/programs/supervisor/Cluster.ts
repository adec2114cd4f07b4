/** The server's data directory: its checks before use, and its creation. */
import { spawn } from "node:child_process"
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync
} from "node:fs"
import { join } from "node:path"
import type { Binaries } from "./Binaries.ts"
import { Failure } from "./Failure.ts"
import * as Owner from "./Owner.ts"

export interface ClusterOptions {
  readonly directory: string
  readonly logFile: string
  readonly binaries: Binaries
  readonly owner: Owner.Owner
}

/** The last line of a server's output that says what went wrong. */
export const lastComplaint = (output: string): string => {
  const lines = output.split("\n").filter((line) => line.trim() !== "")
  const complaint = lines.findLast((line) => /\b(FATAL|PANIC|error|could not|ERROR)\b/.test(line)) ?? lines.at(-1) ?? ""
  return complaint.replace(/^.*?\b(FATAL|PANIC|ERROR|LOG|initdb|postgres):\s*(error:\s*)?/, "").trim()
}

/** Gives what a server or initdb wrote the name a user can act on. */
export const explain = (output: string, options: Pick<ClusterOptions, "directory" | "logFile">): Failure => {
  const { directory, logFile } = options
  const detail = lastComplaint(output)
  if (/No space left on device|Disk quota exceeded/.test(output)) {
    return new Failure({ _tag: "DiskFull", directory, detail: "no space left on device" })
  }
  if (/Permission denied|Read-only file system|has wrong ownership|has invalid permissions/.test(detail)) {
    return new Failure({ _tag: "DataDirectoryUnusable", directory, detail })
  }
  const damage =
    /checkpoint record|pg_control|calculated CRC|incorrect checksum|could not open (file|directory)|invalid page|PANIC|database files are incompatible|could not find|unrecognized configuration|contains errors/
  if (damage.test(output)) return new Failure({ _tag: "ClusterDamaged", directory, detail, logFile })
  return new Failure({ _tag: "ServerFailed", detail: detail === "" ? "it gave no reason" : detail, logFile })
}

const majorOf = (version: string): string => version.split(".")[0] ?? version

/** Whether there is a cluster; fails when what is there is not one that this server can open. */
const exists = (cluster: string, options: ClusterOptions): boolean => {
  if (!existsSync(cluster)) return false
  const entries = readdirSync(cluster)
  if (entries.length === 0) return false
  const { directory, logFile } = options
  if (!entries.includes("PG_VERSION")) {
    throw new Failure({ _tag: "ClusterDamaged", directory: cluster, detail: "it has no file PG_VERSION", logFile })
  }
  const found = readFileSync(join(cluster, "PG_VERSION"), "utf8").trim()
  const expected = majorOf(options.binaries.version)
  if (found !== expected) throw new Failure({ _tag: "DataDirectoryVersion", directory, found, expected })
  return true
}

const initdb = (draft: string, options: ClusterOptions): Promise<void> => {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const program = join(options.binaries.native, "bin", "initdb")
  // The builtin locale gives the same order of text on every machine, whatever libc it has.
  const child = spawn(program, [
    `--pgdata=${Owner.directoryArgument(options.owner, draft)}`,
    "--username=sluice",
    "--auth=trust",
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--locale=C.UTF-8",
    "--no-instructions"
  ], {
    cwd: draft,
    env: { TZ: "UTC", LC_ALL: "C" },
    stdio: ["ignore", "pipe", "pipe"],
    ...Owner.spawnAs(options.owner)
  })
  let output = ""
  const keep = (chunk: Buffer): void => {
    output = (output + chunk.toString()).slice(-65_536)
  }
  child.stdout.on("data", keep)
  child.stderr.on("data", keep)
  child.on("error", (error) => reject(cannotRun(program, error, options)))
  child.on("close", (code) => code === 0 ? resolve() : reject(explain(output, options)))
  return promise
}

/** A program that is there but "does not exist" lacks its loader: the C library is not glibc. */
export const cannotRun = (program: string, error: Error, options: ClusterOptions): Failure => {
  const code = "code" in error ? error.code : undefined
  if (code === "ENOENT" && existsSync(program)) {
    const platform = `${process.platform}-${process.arch}`
    return new Failure({
      _tag: "PlatformUnsupported",
      platform,
      detail: "it needs glibc, and this system has another C library"
    })
  }
  return new Failure({ _tag: "ServerFailed", detail: `${program}: ${error.message}`, logFile: options.logFile })
}

const syncDirectory = (directory: string): void => {
  const descriptor = openSync(directory, "r")
  fsyncSync(descriptor)
  closeSync(descriptor)
}

/**
 * Makes sure that `<directory>/pg` is a cluster of this server. It is made in a draft folder and renamed, so that a kill
 * at any point leaves either none or a whole one.
 */
export const prepare = async (options: ClusterOptions, report: (text: string) => void): Promise<string> => {
  const cluster = join(options.directory, "pg")
  const draft = join(options.directory, "pg.new")
  rmSync(draft, { recursive: true, force: true })
  if (!exists(cluster, options)) {
    report(`creating a database in ${options.directory} (once, about a second)`)
    mkdirSync(draft, { mode: 0o700 })
    chmodSync(draft, 0o700)
    if (options.owner.switches) chownSync(draft, options.owner.uid, options.owner.gid)
    await initdb(draft, options)
    if (existsSync(cluster)) rmdirSync(cluster)
    renameSync(draft, cluster)
    syncDirectory(options.directory)
  }
  return cluster
}
