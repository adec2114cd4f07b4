/** Postgres refuses to run as root: decides which user the server and its files belong to. */
import { statSync } from "node:fs"

export interface Owner {
  readonly uid: number
  readonly gid: number
  /** Whether the server runs under another user than we do. */
  readonly switches: boolean
}

const nobody = 65_534

/** Our own user; as root the owner of the data if they exist and are not root's, else `nobody`. */
export const decide = (cluster: string): Owner => {
  const uid = process.getuid?.() ?? 0
  const gid = process.getgid?.() ?? 0
  if (uid !== 0) return { uid, gid, switches: false }
  const stat = statSync(cluster, { throwIfNoEntry: false })
  return stat !== undefined && stat.uid !== 0
    ? { uid: stat.uid, gid: stat.gid, switches: true }
    : { uid: nobody, gid: nobody, switches: true }
}

/** What `spawn` needs to run a program as that user. */
export const spawnAs = (owner: Owner): { readonly uid?: number; readonly gid?: number } =>
  owner.switches ? { uid: owner.uid, gid: owner.gid } : {}

/**
 * How a server that runs under another user names its own directory. It is started inside it, and this link leads
 * there even when the directories above may not be entered by that user (a project in /root).
 */
export const directoryArgument = (owner: Owner, directory: string): string =>
  owner.switches && process.platform === "linux" ? "/proc/self/cwd" : directory
