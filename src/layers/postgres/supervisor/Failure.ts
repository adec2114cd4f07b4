/** A failure of the supervisor that has a name: it is sent to every user as it is. */
import type { FailureEncoded } from "./Protocol.ts"

export class Failure extends Error {
  readonly reason: FailureEncoded
  constructor(reason: FailureEncoded) {
    super(reason._tag)
    this.reason = reason
  }
}

const errnoOf = (error: unknown): string | undefined =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined

const words: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EPERM: "operation not permitted",
  EROFS: "the file system is read-only",
  ENOTDIR: "a part of the path is not a directory",
  ENOENT: "it does not exist",
  EMFILE: "too many open files",
  ENAMETOOLONG: "the path is too long"
}

/** Gives an error of the operating system the name a user can act on. */
export const fromSystem = (error: unknown, directory: string, logFile: string): Failure => {
  if (error instanceof Failure) return error
  const errno = errnoOf(error)
  const text = error instanceof Error ? error.message : String(error)
  if (errno === "ENOSPC" || errno === "EDQUOT") {
    return new Failure({ _tag: "DiskFull", directory, detail: "no space left on device" })
  }
  if (errno !== undefined && errno in words) {
    return new Failure({ _tag: "DataDirectoryUnusable", directory, detail: `${words[errno]} (${text})` })
  }
  return new Failure({ _tag: "ServerFailed", detail: text, logFile })
}
