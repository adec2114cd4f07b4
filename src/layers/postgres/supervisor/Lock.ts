/**
 * The one lock on a data directory. SQLite's exclusive lock is a kernel lock on the file (fcntl): it goes with its
 * holder, however that ends, which no pid file can promise; and Node has no other way to one.
 */
import { chownSync, statSync } from "node:fs"
import { DatabaseSync } from "node:sqlite"
import { Failure } from "./Failure.ts"

const busy = 5

/** Takes the lock, for as long as this process lives; `false` when another process has it. */
export const take = (file: string, directory: string): boolean => {
  const database = open(file, directory)
  try {
    database.exec("PRAGMA busy_timeout = 0; PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE")
  } catch (error) {
    database.close()
    if (error instanceof Error && "errcode" in error && error.errcode === busy) return false
    throw unusable(error, file, directory)
  }
  if (process.getuid?.() === 0) {
    const { uid, gid } = statSync(directory)
    chownSync(file, uid, gid)
  }
  held.push(database)
  return true
}

const unusable = (error: unknown, file: string, directory: string): Failure => {
  const detail = `${file}: ${error instanceof Error ? error.message : String(error)}`
  return new Failure({ _tag: "DataDirectoryUnusable", directory, detail })
}

const open = (file: string, directory: string): DatabaseSync => {
  try {
    return new DatabaseSync(file)
  } catch (error) {
    throw unusable(error, file, directory)
  }
}

/** Held on to, for a collected database would give the lock back. */
const held: Array<DatabaseSync> = []
