/**
 * What the system says against reading or writing a file, in words.
 */
import { type PlatformError, Predicate } from "effect"

const words: Readonly<Record<string, string>> = {
  EACCES: "no permission",
  EDQUOT: "the quota is used up",
  EFBIG: "a file may not grow so large",
  EIO: "the device fails",
  EISDIR: "it is a directory",
  ENOENT: "there is no such directory",
  ENOSPC: "the disk is full",
  EROFS: "the file system is read-only"
}

/** The system's own name of what went wrong (`ENOSPC`). */
export const codeOf = (error: unknown): string | undefined =>
  Predicate.hasProperty(error, "code") && Predicate.isString(error.code) ? error.code : undefined

/** The same of what a file system answered, or what stands for it. */
export const platformCodeOf = ({ reason }: PlatformError.PlatformError): string => codeOf(reason.cause) ?? reason._tag

/** A code in words, as far as it is known. */
export const inWords = (code: string): string => {
  const why = words[code]
  return why === undefined ? code : `${why} (${code})`
}
