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
  ENOSPC: "no space left on the device",
  EROFS: "the file system is read-only"
}

/** The system's own code (`ENOSPC`), or what stands for it. */
export const codeOf = ({ reason }: PlatformError.PlatformError): string =>
  Predicate.hasProperty(reason.cause, "code") ? String(reason.cause.code) : reason._tag

/** A code in words, as far as it is known. */
export const inWords = (code: string): string => {
  const why = words[code]
  return why === undefined ? code : `${why} (${code})`
}
