/**
 * The `Fetcher` over Effect's `HttpClient`: any client will do. Over `UndiciHttpClient` deadlines know the phase that a request is in, and
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
import { type FetchRequest, target } from "../../services/fetch/FetchRequest.ts"
import { type AttemptEnd, headerOf } from "./fetcher/Attempt.ts"
import * as Dispatch from "./fetcher/Dispatch.ts"
import { Engine } from "./fetcher/Engine.ts"
import * as Limits from "./fetcher/Limits.ts"
import { type Fork, Session } from "./fetcher/Session.ts"
import * as StreamSource from "./fetcher/StreamSource.ts"
import * as Task from "./fetcher/Task.ts"

/** Targets of a stream that are held to find open hosts among them. */
const streamWindow = 4096

/** A fetcher over the `HttpClient` in context. Host gates are shared by everything that goes through it. */
export const layer: Layer.Layer<Fetcher, never, HttpClient.HttpClient> = Layer.effect(Fetcher)(Effect.gen(function*() {
  const client = yield* HttpClient.HttpClient
  const clock = yield* Clock.Clock
  const random = yield* Random.Random
  const timers = yield* FiberSet.make<void>()
  const engine = new Engine(client, clock, random, yield* FiberSet.runtime(timers)())
  const fibers = yield* FiberSet.make<AttemptEnd, HttpClientError.HttpClientError | FetchError>()
  const single = singles(engine, yield* FiberSet.runtime(fibers)())

  return Fetcher.of({
    fetch: (request) =>
      single(request, true, (resume) => (outcome, end, error, _task, cause) => {
        if (error !== undefined) resume(Effect.fail(error))
        else if (outcome === undefined || end === undefined) {
          resume(cause === undefined ? Effect.interrupt : Effect.failCause(cause))
        } else resume(Effect.succeed<FetchResponse>({ outcome, headers: flatHeaders(end), body: end.body }))
      }, Effect.fail),
    outcome: (request) =>
      single<FetchOutcome, never>(
        request,
        false,
        (resume) => (outcome, _end, _error, _task, cause) =>
          resume(
            outcome !== undefined
              ? Effect.succeed(outcome)
              : cause === undefined
              ? Effect.interrupt
              : Effect.failCause(cause)
          ),
        (error) => Effect.succeed(StreamSource.refused(request, error, clock.currentTimeMillisUnsafe()))
      ),
    fetchAll: (requests) =>
      Stream.map(
        dispatch(engine, streamWindow, (onInvalid) =>
          StreamSource.make(requests, () =>
            clock.currentTimeMillisUnsafe(), onInvalid)),
        ({ outcome }) =>
          outcome
      ),
    fetchSource: (source) => dispatch(engine, 0, () => Effect.succeed(source))
  })
}))

/** @param windowMin targets to hold at least */
const dispatch = <E, R>(
  engine: Engine,
  windowMin: number,
  makeSource: Parameters<typeof Dispatch.stream<E, R>>[1]
): ReturnType<typeof Dispatch.stream<E, R>> =>
  Stream.unwrap(Effect.withFiber((fiber) => {
    const limits = Limits.of(fiber.getRef(FetchPolicy))
    const store = Context.getOrUndefined(fiber.context, BodyStore)
    const window = Math.max(windowMin, 4 * limits.concurrency, 256)
    return Effect.succeed(Dispatch.stream({ engine, limits, wants: { store, keeps: false }, window }, makeSource))
  }))

/** One request at a time, from any number of fibers: those of one policy share a session, and so its limits. */
const singles = (engine: Engine, run: (effect: Parameters<Fork>[0]) => ReturnType<Fork>) => {
  const sessions = new WeakMap<Limits.Limits, Session>()
  const fork: Fork = (effect, task) =>
    run(task.context === undefined ? effect : Effect.provideContext(effect, task.context))
  const sessionOf = (limits: Limits.Limits): Session => {
    let session = sessions.get(limits)
    if (session === undefined) {
      session = new Session(engine, limits, { fork, hasRoom: () => true, onRoom: () => {} })
      sessions.set(limits, session)
    }
    return session
  }
  return <A, E>(
    request: FetchRequest,
    keeps: boolean,
    settle: (resume: (effect: Effect.Effect<A, E>) => void) => Task.Settle,
    onInvalid: (error: FetchError) => Effect.Effect<A, E>
  ): Effect.Effect<A, E> =>
    Effect.withFiber((fiber) => {
      const checked = target(request)
      if (Result.isFailure(checked)) return onInvalid(checked.failure)
      const limits = Limits.of(fiber.getRef(FetchPolicy))
      const session = sessionOf(limits)
      const wants = { keeps, store: Context.getOrUndefined(fiber.context, BodyStore) }
      return Effect.callback<A, E>((resume) => {
        const task = Task.make(checked.success, limits, wants, fiber.context, settle(resume))
        session.add(task)
        session.pump()
        return Effect.suspend(() => {
          const underWay = session.cancel(task)
          return underWay === undefined ? Effect.void : Fiber.interrupt(underWay)
        })
      })
    })
}

const flatHeaders = (end: AttemptEnd): Readonly<Record<string, string>> => {
  const flat: Record<string, string> = {}
  for (const name of Object.keys(end.headers)) {
    const value = headerOf(end.headers, name)
    if (value !== undefined) flat[name] = value
  }
  return flat
}
