import { Effect, Exit, type Layer, Stream } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import type * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import { createHash } from "node:crypto"
import { Frontier, type RunSummary } from "../../services/fetch/Frontier.ts"
import { ServedApi } from "../../services/http/Api.ts"
import type { FetchRunRequest } from "../../services/http/FetchesGroup.ts"
import { type FetchClaim, FetchKeys } from "../../services/http/FetchKeys.ts"
import { FetchRunJob, targetsOf } from "../../services/http/FetchRunJob.ts"
import { LongConnections } from "../../services/http/LongConnections.ts"
import * as Problem from "../../services/http/Problem.ts"
import { JobQueue } from "../../services/jobs/JobQueue.ts"
import * as Uuid from "../../services/postgres/Uuid.ts"
import * as Bodies from "./Bodies.ts"
import * as Feed from "./Feed.ts"
import * as FetchWatch from "./FetchWatch.ts"
import { problemOf } from "./ProblemOf.ts"
import { keyOf } from "./RequestHeaders.ts"

type Payload = typeof FetchRunRequest.Type

/** Two requests are the same if and only if these are. */
const fingerprintOf = ({ name, urls }: Payload): string =>
  createHash("sha256").update(JSON.stringify([name ?? null, urls])).digest("hex")

const answer = (summary: RunSummary, isReplayed: boolean) =>
  Bodies.json(summary, {
    status: 202,
    headers: {
      location: `/v1/fetches/${summary.name}`,
      ...(isReplayed ? { "idempotent-replayed": "true" } : {})
    }
  })

/** Who asks is told that there is no database, and does not wait for it. */
const patience = "2 seconds"

const make = Effect.gen(function*() {
  const frontier = yield* Frontier
  const queue = yield* JobQueue
  const keys = yield* FetchKeys

  /** Begins the run; what `finish` stores is stored together with its job. */
  const begin = (
    run: string,
    payload: Payload,
    finish: (summary: RunSummary) => ReturnType<FetchKeys["Service"]["finish"]>
  ) =>
    // The run begins here and with its URLs: who asks for it at once finds it, and an empty run is forgotten when it is closed.
    Effect.scoped(Effect.gen(function*() {
      const opened = yield* frontier.open(run, { patience })
      yield* opened.add(targetsOf(payload.urls))
      const summary = yield* frontier.find(run, { patience })
      yield* queue.transaction(
        Effect.andThen(queue.enqueue(FetchRunJob, { run, urls: payload.urls }), finish(summary))
      )
      return summary
    })).pipe(
      Effect.catchTags({
        // The run was open: only whoever drops the tables takes it away.
        RunNotFound: () => Effect.fail(new Problem.Unavailable()),
        // What is put into the job was checked by the same patterns.
        JobPayloadInvalid: (error) => Effect.die(error),
        JobOptionInvalid: (error) => Effect.die(error)
      })
    )

  const beginClaimed = (claim: FetchClaim, payload: Payload) =>
    Effect.onExit(begin(claim.run, payload, (summary) => keys.finish(claim, summary)), (exit) =>
      Exit.isSuccess(exit)
        ? Effect.void
        : keys.release(claim).pipe(
          Effect.catch((error) => Effect.logDebug("a key stays claimed until it lapses", error))
        ))

  const start = Effect.fnUntraced(function*(header: string | undefined, payload: Payload) {
    const run = payload.name ?? (yield* Uuid.next)
    if (header === undefined) return answer(yield* begin(run, payload, () => Effect.void), false)
    const key = yield* keyOf(header)
    const token = yield* Uuid.next
    const beginning = yield* keys.begin({ key, fingerprint: fingerprintOf(payload), run, token })
    return beginning._tag === "Replayed"
      ? answer(beginning.answer, true)
      : answer(yield* beginClaimed(beginning.claim, payload), false)
  })
  return { frontier, start }
})

/** The progress of a run. Each document says everything, so that a client that comes back needs no mark. */
const feedOf = (watch: FetchWatch.FetchWatch, name: string) => ({
  name: `progress of fetch run ${name}`,
  event: "progress",
  items: Stream.map(watch(name), (document) => ({ id: undefined, document }))
})

/** The handlers of fetch runs: starting, reading and following them. */
export const layer: Layer.Layer<
  HttpApiGroup.Service<"sluice", "fetches">,
  never,
  Frontier | JobQueue | FetchKeys | LongConnections
> = HttpApiBuilder.group(
  ServedApi,
  "fetches",
  Effect.fnUntraced(function*(handlers) {
    const { frontier, start } = yield* make
    const connections = yield* LongConnections
    const watch = yield* FetchWatch.make
    const find = (name: string) =>
      Effect.mapError(
        frontier.find(name, { patience }),
        (error) => error._tag === "RunNotFound" ? new Problem.FetchNotFound() : problemOf(error)
      )
    return handlers.handleAll({
      startFetch: ({ headers, payload }) => Effect.mapError(start(headers["idempotency-key"], payload), problemOf),
      getFetch: ({ params }) => find(params.name),
      fetchEvents: Effect.fnUntraced(function*({ params: { name }, request }) {
        yield* find(name)
        return yield* Effect.provideService(Feed.answer(request, feedOf(watch, name)), LongConnections, connections)
      })
    })
  })
)
