import { Runtime, Schema } from "effect"
import { ExitCode } from "../../services/tasks/ExitCode.ts"

/** The command line does not say what to do. */
export class UsageError extends Schema.TaggedError<UsageError>()("UsageError", { problem: Schema.String }) {
  override get message(): string {
    return this.problem
  }
  override get [Runtime.errorExitCode](): number {
    return ExitCode.usage
  }
}
