/** The routes of fetch runs, and the job that does one. */
import { Schedule, Schema } from "effect"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import { RunName, RunSummary } from "../fetch/Frontier.ts"
import * as Job from "../jobs/Job.ts"
import { common, keyed } from "./OrdersGroup.ts"
import * as Problem from "./Problem.ts"

const Url = Schema.String.check(
  Schema.isMaxLength(2048),
  Schema.isPattern(/^[Hh][Tt][Tt][Pp][Ss]?:\/\/[^\s\p{Cc}\p{Cs}]+$/u, { expected: "an absolute http(s) URL" })
)

/** What to fetch. */
export const FetchRunRequest = Schema.Struct({
  /** 1 to 1000 URLs. Private, loopback and link-local addresses are refused. */
  urls: Schema.Array(Url).check(Schema.isMinLength(1), Schema.isMaxLength(1000)),
  /** The run's name; the same name again goes on with that run, and fetches nothing that it has. Made up when absent. */
  name: Schema.optionalKey(RunName)
})

/** The job behind a fetch run: it may run again, and goes on where it was. */
export const FetchRunJob = Job.make("fetch.run", {
  payload: Schema.Struct({ run: RunName, urls: Schema.Array(Schema.String) }),
  queue: "fetch.run",
  key: ({ run }) => run,
  retry: Schedule.min([Schedule.exponential("1 second"), Schedule.spaced("1 minute")]),
  maxAttempts: 20,
  timeout: "1 hour"
})

const Run = RunSummary.annotate({ identifier: "FetchRun" })

const OptionalKey = Schema.String.annotate({
  description:
    "Optional here: a key of 1 to 255 printable characters that is new for each run, and the same for each try to begin it."
})

const start = HttpApiEndpoint.post("startFetch", "/v1/fetches", {
  headers: { "idempotency-key": Schema.optionalKey(OptionalKey) },
  payload: FetchRunRequest,
  success: HttpApiSchema.WithHeaders(Run.pipe(HttpApiSchema.status(202)), {
    location: Schema.String,
    "idempotent-replayed": Schema.optionalKey(Schema.String)
  }),
  error: keyed
}).annotateMerge(OpenApi.annotations({
  summary: "Fetch a list of URLs",
  description:
    "As a job: one recorded outcome for each URL, with limits, retries and deadlines. A name makes it repeatable. An Idempotency-Key is optional: " +
    "a repeated one begins nothing and gets the first answer again, with `Idempotent-Replayed: true`."
}))

const get = HttpApiEndpoint.get("getFetch", "/v1/fetches/:name", {
  params: { name: RunName },
  success: Run,
  error: [...common, Problem.FetchNotFound]
}).annotateMerge(
  OpenApi.annotations({
    summary: "Read a fetch run",
    description: "How many URLs are pending, leased, done and failed."
  })
)

/** Fetch runs. */
export const group = HttpApiGroup.make("fetches").add(start, get).annotateMerge(
  OpenApi.annotations({ description: "Lists of URLs, fetched as jobs." })
)
