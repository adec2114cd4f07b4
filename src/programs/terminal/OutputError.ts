/** Why results cannot be written. */
import { type PlatformError, Runtime, Schema } from "effect"
import * as FileFault from "../../services/fetch/FileFault.ts"
import { ExitCode } from "../../services/tasks/ExitCode.ts"
import * as SystemFault from "./SystemFault.ts"

/** Results cannot be written to their file, or to standard output; `code` is the system's own (`ENOSPC`). */
export class OutputError extends Schema.TaggedError<OutputError>()("OutputError", {
  file: Schema.String,
  code: Schema.String
}) {
  override get message(): string {
    return `cannot write ${this.file}: ${FileFault.inWords(this.code)}`
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

/** Whether this code says that the reader has gone. */
export const isClosedCode = (code: string | undefined): boolean => code === "EPIPE" || code === "ERR_STREAM_DESTROYED"

/** A failure to write there, whatever the reason. */
export const errorOf = (file: string, error: PlatformError.PlatformError): OutputError =>
  new OutputError({ file, code: SystemFault.platformCodeOf(error) })

/** A failure to write there, or that its reader has gone. */
export const failureOf = (file: string, error: PlatformError.PlatformError): OutputError | OutputClosed =>
  isClosedCode(SystemFault.codeOf(error.reason.cause)) ? new OutputClosed() : errorOf(file, error)
