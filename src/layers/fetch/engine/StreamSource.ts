/**
 * A stream of requests as a source of targets. It cannot choose hosts: it gives what comes next.
 */
import { Effect, Pull, Result, type Scope, Stream } from "effect"
import type { Fetched } from "../../../services/fetch/Fetcher.ts"
import type { FetchError } from "../../../services/fetch/FetchError.ts"
import { failure, type FetchOutcome } from "../../../services/fetch/FetchOutcome.ts"
import { type FetchRequest, type FetchTarget, target } from "../../../services/fetch/FetchRequest.ts"
import type { FetchSource, FetchSupply } from "../../../services/fetch/FetchSource.ts"
import * as Redact from "../../../services/fetch/Redact.ts"

/** Requests that are none are answered at once, through `onInvalid`. */
export const make = <E, R>(
  requests: Stream.Stream<FetchRequest, E, R>,
  nowMillis: () => number,
  onInvalid: (fetched: Fetched) => void
): Effect.Effect<FetchSource<E, R>, never, R | Scope.Scope> =>
  Effect.map(Stream.toPull(requests), (pullRequests): FetchSource<E, R> => {
    let chunk: ReadonlyArray<FetchRequest> = []
    let at = 0
    const take = (limit: number): ReadonlyArray<FetchTarget> => {
      const targets: Array<FetchTarget> = []
      while (at < chunk.length && targets.length < limit) {
        const request = chunk[at++]
        if (request === undefined) continue
        const checked = target(request)
        if (Result.isSuccess(checked)) targets.push(checked.success)
        else onInvalid({ target: noTarget(request), outcome: refused(request, checked.failure, nowMillis()) })
      }
      return targets
    }
    const pull: FetchSource<E, R>["pull"] = (demand) =>
      Effect.suspend(() => {
        const targets = take(demand.limit)
        if (targets.length > 0) return Effect.succeed<FetchSupply>({ _tag: "Targets", targets })
        return Pull.matchEffect(pullRequests, {
          onSuccess: (requests) => {
            chunk = requests
            at = 0
            return pull(demand)
          },
          onFailure: (cause): Effect.Effect<FetchSupply, E> => Effect.failCause(cause),
          onDone: () => Effect.succeed<FetchSupply>({ _tag: "Done" })
        })
      })
    return { pull }
  })

/** The outcome of a request that was never sent. */
export const refused = (request: FetchRequest, error: FetchError, nowMillis: number): FetchOutcome => ({
  url: Redact.url(request.url),
  finalUrl: null,
  ok: false,
  status: null,
  attempts: 0,
  bytes: 0,
  sha256: null,
  contentType: null,
  startedAt: new Date(nowMillis).toISOString(),
  durationMs: 0,
  savedTo: null,
  error: failure(error)
})

const noTarget = (request: FetchRequest): FetchTarget => ({ request, url: request.url, origin: "", host: "", path: "" })
