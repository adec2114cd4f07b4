/** The handlers of fetch runs. */
import { Effect, type Layer, Result } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import type * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import { type FetchTarget, target } from "../../services/fetch/FetchRequest.ts"
import { Frontier } from "../../services/fetch/Frontier.ts"
import { ServedApi } from "../../services/http/Api.ts"
import { FetchRunJob, type FetchRunRequest } from "../../services/http/FetchesGroup.ts"
import * as Problem from "../../services/http/Problem.ts"
import { JobQueue } from "../../services/jobs/JobQueue.ts"
import * as Uuid from "../orders/Uuid.ts"
import * as Bodies from "./Bodies.ts"

/** What can be fetched of them; the job, which reads them again, tells the others. */
const targetsOf = (urls: ReadonlyArray<string>): ReadonlyArray<FetchTarget> =>
  urls.flatMap((url) => {
    const checked = target({ url })
    return Result.isSuccess(checked) ? [checked.success] : []
  })

/** Starting and reading runs. */
export const layer: Layer.Layer<HttpApiGroup.Service<"sluice", "fetches">, never, Frontier | JobQueue> = HttpApiBuilder
  .group(
    ServedApi,
    "fetches",
    Effect.fnUntraced(function*(handlers) {
      const frontier = yield* Frontier
      const queue = yield* JobQueue
      const start = Effect.fnUntraced(function*(payload: typeof FetchRunRequest.Type) {
        const run = payload.name ?? (yield* Uuid.next)
        // Begun here, so that whoever asks for it at once finds it: a run with nothing in it would be gone when it is closed.
        const summary = yield* Effect.scoped(Effect.gen(function*() {
          const opened = yield* frontier.open(run)
          yield* opened.add(targetsOf(payload.urls))
          yield* queue.enqueue(FetchRunJob, { run, urls: payload.urls })
          return yield* frontier.find(run)
        }))
        return Bodies.json(summary, { status: 202, headers: { location: `/v1/fetches/${run}` } })
        // What is put into the job was checked by the same patterns.
      }, Effect.catchTag("JobPayloadInvalid", (error) => Effect.die(error)))
      return handlers.handleAll({
        startFetch: ({ payload }) => Effect.mapError(start(payload), () => new Problem.Unavailable()),
        getFetch: ({ params }) =>
          Effect.mapError(
            frontier.find(params.name),
            (error) => error._tag === "RunNotFound" ? new Problem.FetchNotFound() : new Problem.Unavailable()
          )
      })
    })
  )
