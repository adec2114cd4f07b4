/** The routes of fetch runs. */
import { Schema } from "effect"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import { RunName, RunSummary } from "../fetch/Frontier.ts"
import * as Problem from "./Problem.ts"
import { common, documented, keyed } from "./Route.ts"

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
}).annotateMerge(
  documented(
    "Fetch a list of URLs",
    "As a job: one recorded outcome for each URL, with limits, retries and deadlines. A name makes it repeatable. An Idempotency-Key is optional: " +
      "a repeated one begins nothing and gets the first answer again, with `Idempotent-Replayed: true`."
  )
)

const get = HttpApiEndpoint.get("getFetch", "/v1/fetches/:name", {
  params: { name: RunName },
  success: Run,
  error: [...common, Problem.FetchNotFound]
}).annotateMerge(
  documented("Read a fetch run", "How many URLs are pending, leased, done and failed.")
)

/** Fetch runs. */
export const group = HttpApiGroup.make("fetches").add(start, get).annotateMerge(
  OpenApi.annotations({ description: "Lists of URLs, fetched as jobs." })
)
