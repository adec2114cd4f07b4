import { Schedule, Schema } from "effect"
import { RunName } from "../fetch/Frontier.ts"
import * as Job from "../jobs/Job.ts"

/** The job behind a fetch run of the API: it may run again, and goes on where it was. The jobs of one run are done one after the other. */
export const FetchRunJob = Job.make("fetch.run", {
  payload: Schema.Struct({ run: RunName, urls: Schema.Array(Schema.String) }),
  queue: "fetch.run",
  key: ({ run }) => run,
  retry: Schedule.min([Schedule.exponential("1 second"), Schedule.spaced("1 minute")]),
  maxAttempts: 20,
  timeout: "1 hour"
})
