/** The server's data directory: its checks before use, and its creation. */
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  fsyncSync,
  lchownSync,
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
import * as Files from "./Files.ts"
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
  // The programs are there (see Binaries): what "does not exist" is their loader.
  if (/failed to execute .*No such file|spawn .* ENOENT/.test(output)) {
    const platform = `${process.platform}-${process.arch}`
    return new Failure({ _tag: "PlatformUnsupported", platform, detail: "it needs glibc, which this system lacks" })
  }
  const nameless = /could not look up effective user ID (\d+)/.exec(output)?.[1]
  if (nameless !== undefined) {
    const platform = `user ${nameless}`
    return new Failure({ _tag: "PlatformUnsupported", platform, detail: "Postgres needs it to be in /etc/passwd" })
  }
  if (/No space left on device|Disk quota exceeded/.test(output)) {
    return new Failure({ _tag: "DiskFull", directory, detail: "no space left on device" })
  }
  if (/Permission denied|Read-only file system|has wrong ownership|has invalid permissions/.test(detail)) {
    return new Failure({ _tag: "DataDirectoryUnusable", directory, detail })
  }
  const damage =
    /checkpoint record|pg_control|calculated CRC|incorrect checksum|could not open (file|directory)|invalid page|PANIC|database files are incompatible|could not find|could not access|could not read|unrecognized configuration|contains errors/
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
  const child = Owner.spawnAs(
    options.owner,
    [
      program,
      `--pgdata=${Owner.directoryArgument(options.owner, draft)}`,
      "--username=sluice",
      "--auth=trust",
      "--encoding=UTF8",
      "--locale=C",
      "--locale-provider=builtin",
      "--builtin-locale=C.UTF-8",
      "--no-instructions"
    ],
    "KILL",
    {
      cwd: draft,
      env: { TZ: "UTC", LC_ALL: "C" },
      stdio: ["ignore", "pipe", "pipe"]
    }
  )
  let output = ""
  const keep = (chunk: Buffer): void => {
    output = (output + chunk.toString()).slice(-65_536)
  }
  child.stdout?.on("data", keep)
  child.stderr?.on("data", keep)
  child.on("error", (error) => reject(explain(`FATAL: ${error.message}`, options)))
  child.on("close", (code) => code === 0 ? resolve() : reject(explain(output, options)))
  return promise
}

const giveAll = (directory: string, owner: Owner.Owner): void => {
  for (const entry of readdirSync(directory, { recursive: true, encoding: "utf8" })) {
    lchownSync(join(directory, entry), owner.uid, owner.gid)
  }
  chownSync(directory, owner.uid, owner.gid)
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
  const cluster = join(options.directory, Files.cluster)
  for (const name of readdirSync(options.directory)) {
    if (name.startsWith("pg.new.")) rmSync(join(options.directory, name), { recursive: true, force: true })
  }
  if (!exists(cluster, options)) {
    report(`creating a database in ${options.directory} (once; it takes a second or two)`)
    // Named after us: an initdb whose supervisor was killed may still be busy with its own.
    const draft = join(options.directory, `pg.new.${process.pid}`)
    mkdirSync(draft, { mode: 0o700 })
    chmodSync(draft, 0o700)
    const maker = Owner.maker(options.owner)
    if (maker.switches) chownSync(draft, maker.uid, maker.gid)
    await initdb(draft, { ...options, owner: maker })
    if (maker.uid !== options.owner.uid) giveAll(draft, options.owner)
    if (existsSync(cluster)) rmdirSync(cluster)
    renameSync(draft, cluster)
    syncDirectory(options.directory)
  }
  return cluster
}
