/** The routes of fetch runs. */
import { Schema } from "effect"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import { RunName, RunSummary } from "../fetch/Frontier.ts"
import * as Problem from "./Problem.ts"
import { common, documented, followed, keyed } from "./Route.ts"

const Url = Schema.String.check(
  Schema.isMaxLength(2048),
  Schema.isPattern(/^[Hh][Tt][Tt][Pp][Ss]?:\/\/[^\s\p{Cc}\p{Cs}]+$/u, {
    expected: "an absolute http(s) URL",
    toJsonSchema: () => [{ format: "uri" }, true]
  })
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
  payload: FetchRunRequest.annotate({ identifier: "FetchRequest" }),
  success: HttpApiSchema.WithHeaders(Run.pipe(HttpApiSchema.status(202)), {
    location: Schema.String,
    "idempotent-replayed": Schema.optionalKey(Schema.String)
  }),
  error: keyed
}).annotateMerge(
  documented(
    "Fetch a list of URLs",
    "As a job: one recorded outcome for each URL, with limits, retries and deadlines. A name makes it repeatable. An Idempotency-Key is optional: " +
      "a repeated one begins nothing and gets the first answer again, with `Idempotent-Replayed: true`.",
    { 202: "The run has begun, or goes on." }
  )
)

const get = HttpApiEndpoint.get("getFetch", "/v1/fetches/:name", {
  params: { name: RunName },
  success: Run,
  error: [...common, Problem.FetchNotFound]
}).annotateMerge(
  documented("Read a fetch run", "How many URLs are pending, leased, done and failed.", {
    200: "The run and its counts."
  })
)

const events = HttpApiEndpoint.get("fetchEvents", "/v1/fetches/:name/events", {
  params: { name: RunName },
  success: HttpApiSchema.StreamSse({ data: Run }),
  error: [...common, ...followed, Problem.FetchNotFound]
}).annotateMerge(documented(
  "Follow a fetch run",
  "Where the run is, told anew when it has moved, twice a second at most, until nothing is left to fetch: as server-sent events " +
    "or, with `Upgrade: websocket`, as messages of a WebSocket, with the same documents. Each says everything: who comes back has missed nothing.",
  { 200: "Where the run is, as it moves." }
))

/** Fetch runs. */
export const group = HttpApiGroup.make("fetches").add(start, get, events).annotateMerge(
  OpenApi.annotations({ description: "Lists of URLs, fetched as jobs." })
)
