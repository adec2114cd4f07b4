/** Postgres refuses to run as root: decides which user the server and its files belong to. */
import { type ChildProcess, spawn, type SpawnOptions } from "node:child_process"
import { existsSync, realpathSync, statSync } from "node:fs"
import { join } from "node:path"
import * as Files from "./Files.ts"

export interface Owner {
  readonly uid: number
  readonly gid: number
  /** Whether the server runs under another user than we do. */
  readonly switches: boolean
}

const nobody = 65_534

/**
 * Our own user; as root the one who owns the data, or the directory around them, if that is not root, else `nobody`. Root
 * who lends a hand in a user's project leaves nothing there that the user cannot use.
 */
export const decide = (directory: string): Owner => {
  const uid = process.getuid?.() ?? 0
  const gid = process.getgid?.() ?? 0
  if (uid !== 0) return { uid, gid, switches: false }
  for (const path of [join(directory, Files.cluster), directory]) {
    const stat = statSync(path, { throwIfNoEntry: false })
    if (stat !== undefined && stat.uid !== 0) return { uid: stat.uid, gid: stat.gid, switches: true }
  }
  return { uid: nobody, gid: nobody, switches: true }
}

/** Who may run initdb, which refuses a user without a name (a container that sees another machine's files): as root, nobody. */
export const maker = (owner: Owner): Owner => owner.switches ? { ...owner, uid: nobody, gid: nobody } : owner

/** `setpriv` (util-linux) lets the kernel signal a program of ours when we are killed. Without it the next start clears up. */
const setpriv = ["/usr/bin/setpriv", "/bin/setpriv"].find((path) =>
  // Busybox has a small setpriv that does not know --pdeathsig.
  existsSync(path) && !realpathSync(path).includes("busybox")
)

/** Runs a program as that user, to get `deathSignal` when we die. */
export const spawnAs = (
  owner: Owner,
  command: ReadonlyArray<string>,
  deathSignal: "INT" | "KILL",
  options: SpawnOptions
): ChildProcess => {
  const wrapped = setpriv === undefined ? command : [setpriv, "--pdeathsig", deathSignal, "--", ...command]
  const [file = "", ...args] = wrapped
  return spawn(file, args, owner.switches ? { ...options, uid: owner.uid, gid: owner.gid } : options)
}

/**
 * How a server that runs under another user names its own directory. It is started inside it, and this link leads
 * there even when the directories above may not be entered by that user (a project in /root).
 */
export const directoryArgument = (owner: Owner, directory: string): string =>
  owner.switches && process.platform === "linux" ? "/proc/self/cwd" : directory
