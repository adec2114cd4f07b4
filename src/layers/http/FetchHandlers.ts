/** The handlers of fetch runs. */
import { Effect, Exit, type Layer, Result } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import type * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import { createHash } from "node:crypto"
import { type FetchTarget, parseTarget } from "../../services/fetch/FetchRequest.ts"
import { Frontier, type RunSummary } from "../../services/fetch/Frontier.ts"
import { ServedApi } from "../../services/http/Api.ts"
import { FetchRunJob, type FetchRunRequest } from "../../services/http/FetchesGroup.ts"
import { type FetchClaim, FetchKeys } from "../../services/http/FetchKeys.ts"
import * as Problem from "../../services/http/Problem.ts"
import { JobQueue } from "../../services/jobs/JobQueue.ts"
import * as Uuid from "../orders/Uuid.ts"
import * as Bodies from "./Bodies.ts"
import { problemOf } from "./Problems.ts"
import { keyOf } from "./RequestHeaders.ts"

type Payload = typeof FetchRunRequest.Type

/** What can be fetched of them; the job, which reads them again, tells the others. */
const targetsOf = (urls: ReadonlyArray<string>): ReadonlyArray<FetchTarget> =>
  urls.flatMap((url) => {
    const checked = parseTarget({ url })
    return Result.isSuccess(checked) ? [{ ...checked.success, untrusted: true }] : []
  })

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

const unavailable = () => Effect.fail(new Problem.Unavailable())

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
    // Begun here, so that whoever asks for it at once finds it: a run with nothing in it would be gone when it is closed.
    Effect.scoped(Effect.gen(function*() {
      // Who asks is told that there is no database, and does not wait for it.
      const opened = yield* frontier.open(run, { patience: "2 seconds" })
      yield* opened.add(targetsOf(payload.urls))
      const summary = yield* frontier.find(run)
      yield* queue.transaction(
        Effect.andThen(queue.enqueue(FetchRunJob, { run, urls: payload.urls }), finish(summary))
      )
      return summary
    })).pipe(
      Effect.catchTags({
        FrontierError: unavailable,
        RunNotFound: unavailable,
        JobQueueError: unavailable,
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

/** Starting and reading runs. */
export const layer: Layer.Layer<HttpApiGroup.Service<"sluice", "fetches">, never, Frontier | JobQueue | FetchKeys> =
  HttpApiBuilder.group(
    ServedApi,
    "fetches",
    Effect.fnUntraced(function*(handlers) {
      const { frontier, start } = yield* make
      return handlers.handleAll({
        startFetch: ({ headers, payload }) => Effect.mapError(start(headers["idempotency-key"], payload), problemOf),
        getFetch: ({ params }) =>
          Effect.mapError(
            frontier.find(params.name),
            (error) => error._tag === "RunNotFound" ? new Problem.FetchNotFound() : new Problem.Unavailable()
          )
      })
    })
  )
