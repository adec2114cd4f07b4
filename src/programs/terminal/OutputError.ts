/** Why results cannot be written. */
import { type PlatformError, Predicate, Runtime, Schema } from "effect"
import { ExitCode } from "../../services/tasks/ExitCode.ts"

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

/** Results cannot be written to their file, or to standard output; `code` is the system's own (`ENOSPC`). */
export class OutputError extends Schema.TaggedError<OutputError>()("OutputError", {
  file: Schema.String,
  code: Schema.String
}) {
  override get message(): string {
    const why = words[this.code]
    return `cannot write ${this.file}: ${why === undefined ? this.code : `${why} (${this.code})`}`
  }
  override get [Runtime.errorExitCode](): number {
    return ExitCode.environment
  }
}

/** Nobody reads the output any more (`| head -1`): not a failure, but the end. */
export class OutputClosed {
  readonly _tag = "OutputClosed"
}

/** Whether an error is that nobody reads the output any more. */
export const isOutputClosed = (error: unknown): error is OutputClosed => error instanceof OutputClosed

/** The system's own name of what went wrong. */
export const codeOf = (error: unknown): string | undefined =>
  Predicate.hasProperty(error, "code") && Predicate.isString(error.code) ? error.code : undefined

/** Whether this code says that the reader has gone. */
export const isClosedCode = (code: string | undefined): boolean => code === "EPIPE" || code === "ERR_STREAM_DESTROYED"

/** A failure to write there, whatever the reason. */
export const errorOf = (file: string, { reason }: PlatformError.PlatformError): OutputError =>
  new OutputError({ file, code: codeOf(reason.cause) ?? reason._tag })

/** A failure to write there, or that its reader has gone. */
export const failureOf = (file: string, error: PlatformError.PlatformError): OutputError | OutputClosed =>
  isClosedCode(codeOf(error.reason.cause)) ? new OutputClosed() : errorOf(file, error)
