/**
 * What a file system says when it cannot do something: the system's codes, in words.
 */

const words: Readonly<Record<string, string>> = {
  EACCES: "no permission",
  EDQUOT: "the quota is used up",
  EFBIG: "a file may not grow so large",
  EIO: "the device fails",
  EISDIR: "it is a directory",
  EMFILE: "too many open files",
  ENFILE: "too many open files in the whole system",
  ENOENT: "there is no such directory",
  ENOSPC: "the disk is full",
  ENOTDIR: "a part of the path is no directory",
  EPERM: "not permitted",
  EROFS: "the file system is read-only"
}

/** A code with what it means, where that is known. */
export const inWords = (code: string): string => {
  const why = words[code]
  return why === undefined ? code : `${why} (${code})`
}

/** Too many open files passes, and a name that is too long is one URL's; all else lies in the way of every file. */
const own: ReadonlySet<string> = new Set(["EMFILE", "ENAMETOOLONG", "ENFILE"])

/** Whether other files cannot be written either: a disk that is full, read-only, gone, or not ours to write. */
export const isOfAll = (code: string): boolean => !own.has(code)
