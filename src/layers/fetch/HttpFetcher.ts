/**
 * The `Fetcher` over Effect's `HttpClient`: any client will do. Over `Http1Client` deadlines know the phase that a request is in, and
 * small bodies cost no stream.
 */
import { Clock, Context, Effect, Fiber, FiberSet, Layer, Random, Result, Stream } from "effect"
import * as HttpClient from "effect/http/HttpClient"
import type * as HttpClientError from "effect/http/HttpClientError"
import { BodyStore } from "../../services/fetch/BodyStore.ts"
import { Fetcher, type FetchResponse } from "../../services/fetch/Fetcher.ts"
import type { FetchError } from "../../services/fetch/FetchError.ts"
import type { FetchOutcome } from "../../services/fetch/FetchOutcome.ts"
import { FetchPolicy } from "../../services/fetch/FetchPolicy.ts"
import { type FetchRequest, parseTarget } from "../../services/fetch/FetchRequest.ts"
import { CurrentTask } from "../../services/tasks/TaskNode.ts"
import { BodySink } from "./engine/BodySink.ts"
import * as Call from "./engine/Call.ts"
import { Dispatcher } from "./engine/Dispatcher.ts"
import * as FetchStream from "./engine/FetchStream.ts"
import { Hub } from "./engine/Hub.ts"
import * as Limits from "./engine/Limits.ts"
import { headerOf, type Reply } from "./engine/Transfer.ts"

/** A fetcher over the `HttpClient` in context. Host gates are shared by everything that goes through it. */
export const layer: Layer.Layer<Fetcher, never, HttpClient.HttpClient> = Layer.effect(Fetcher)(Effect.gen(function*() {
  const client = yield* HttpClient.HttpClient
  const clock = yield* Clock.Clock
  const random = yield* Random.Random
  const timers = yield* FiberSet.make<void>()
  const hub = new Hub({ client, clock, random, fork: yield* FiberSet.runtime(timers)() })
  const sinks = new Set<BodySink>()
  // Added before the fibers, so run after them: what they leave of bodies is thrown away when they have ended.
  yield* Effect.addFinalizer(() => BodySink.closeAll(sinks))
  const fibers = yield* FiberSet.make<unknown, HttpClientError.HttpClientError | FetchError>()
  const fork = yield* FiberSet.runtime(fibers)()
  // Nobody's deadline: each request has its caller's.
  const context = Context.make(CurrentTask, yield* CurrentTask)
  const call = caller((limits) =>
    new Dispatcher({ hub, fork, sinks, context, limits, hasRoom: () => true, onRoom: () => {} })
  )

  return Fetcher.of({
    fetch: (request) =>
      call<FetchResponse, FetchError>(request, {
        keeps: true,
        onInvalid: Effect.fail,
        onEnd: (end) => {
          if (end._tag === "Lost") return Effect.failCause(end.cause)
          if (end._tag === "Failed") return Effect.fail(end.error)
          return Effect.succeed({ outcome: end.outcome, headers: flatHeaders(end.reply), body: end.reply.body })
        }
      }),
    outcome: (request) =>
      call<FetchOutcome, never>(request, {
        keeps: false,
        onInvalid: (error) => Effect.succeed(Call.invalid(request, error, hub.wallMillis())),
        onEnd: (end) => end._tag === "Lost" ? Effect.failCause(end.cause) : Effect.succeed(end.outcome)
      }),
    fetchAll: (requests) => Stream.map(FetchStream.fromRequests(hub, requests), ({ outcome }) => outcome),
    fetchSource: (source) => FetchStream.fromSource(hub, source),
    hosts: Effect.sync(() => hub.hosts())
  })
}))

/** What a caller wants of one request. */
interface Ask<A, E> {
  /** Whether the body is handed back. */
  readonly keeps: boolean
  readonly onInvalid: (error: FetchError) => Effect.Effect<A, E>
  readonly onEnd: (end: Call.End) => Effect.Effect<A, E>
}

/** One request at a time, from any number of fibers. Requests of one policy share a dispatcher, and so its limits. */
const caller = (make: (limits: Limits.Limits) => Dispatcher) => {
  const known = new WeakMap<Limits.Limits, Dispatcher>()
  const dispatcherOf = (limits: Limits.Limits): Dispatcher => {
    const dispatcher = known.get(limits) ?? make(limits)
    known.set(limits, dispatcher)
    return dispatcher
  }
  return <A, E>(request: FetchRequest, { keeps, onEnd, onInvalid }: Ask<A, E>): Effect.Effect<A, E> =>
    Effect.withFiber((fiber) => {
      const parsed = parseTarget(request)
      if (Result.isFailure(parsed)) return onInvalid(parsed.failure)
      const limits = Limits.of(fiber.getRef(FetchPolicy))
      const dispatcher = dispatcherOf(limits)
      const wants = { keeps, store: Context.getOrUndefined(fiber.context, BodyStore), cutBytes: undefined }
      const { context } = fiber
      return Effect.callback<A, E>((resume) => {
        const settle = (end: Call.End) => resume(onEnd(end))
        const call = Call.make({ target: parsed.success, limits, wants, context, settle })
        dispatcher.add(call)
        dispatcher.pump()
        return Effect.suspend(() => Fiber.interruptAll(dispatcher.cancel(call)))
      })
    })
}

const flatHeaders = ({ headers }: Reply): Readonly<Record<string, string>> => {
  const flat: Record<string, string> = {}
  for (const name of Object.keys(headers)) {
    const value = headerOf(headers, name)
    if (value !== undefined) flat[name] = value
  }
  return flat
}
