import { Schema } from "effect"

/** What a test expected of its jobs is not so, or cannot be found out; `detail` says what was expected and what is. */
export class JobTestError extends Schema.TaggedError<JobTestError>()("JobTestError", { detail: Schema.String }) {
  override get message() {
    return this.detail
  }
}
