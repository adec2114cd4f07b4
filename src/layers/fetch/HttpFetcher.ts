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
import { type FetchRequest, target } from "../../services/fetch/FetchRequest.ts"
import { CurrentDeadline, effectiveMillis } from "../../services/tasks/CurrentDeadline.ts"
import { CurrentTask } from "../../services/tasks/TaskNode.ts"
import * as Sink from "./engine/BodySink.ts"
import * as Task from "./engine/Call.ts"
import { Session } from "./engine/Dispatcher.ts"
import * as Dispatch from "./engine/FetchStream.ts"
import { Engine } from "./engine/Hub.ts"
import * as Limits from "./engine/Limits.ts"
import * as StreamSource from "./engine/StreamSource.ts"
import { type AttemptEnd, headerOf } from "./engine/Transfer.ts"

/** Targets of a stream that are held to find open hosts among them. */
const streamWindow = 4096

/** A fetcher over the `HttpClient` in context. Host gates are shared by everything that goes through it. */
export const layer: Layer.Layer<Fetcher, never, HttpClient.HttpClient> = Layer.effect(Fetcher)(Effect.gen(function*() {
  const client = yield* HttpClient.HttpClient
  const clock = yield* Clock.Clock
  const random = yield* Random.Random
  const timers = yield* FiberSet.make<void>()
  const engine = new Engine(client, clock, random, yield* FiberSet.runtime(timers)())
  const sinks = new Set<Sink.Sink>()
  // Added before the fibers, so run after them: what they leave of bodies is thrown away when they have ended.
  yield* Effect.addFinalizer(() => Sink.closeAll(sinks))
  const fibers = yield* FiberSet.make<unknown, HttpClientError.HttpClientError | FetchError>()
  const run = yield* FiberSet.runtime(fibers)()
  const parent = yield* CurrentTask
  const sessionOf = sessions((limits) =>
    new Session(engine, limits, {
      fork: (effect, task) => run(task?.context === undefined ? effect : Effect.provideContext(effect, task.context)),
      parent,
      sinks,
      remainingMillis: ({ context }) => context === undefined ? Infinity : remainingMillis(context, clock),
      hasRoom: () => true,
      onRoom: () => {}
    })
  )
  const single = singles(sessionOf)

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
    const policy = fiber.getRef(FetchPolicy)
    const limits = Limits.of(policy)
    const untrustedLimits = Limits.ofUntrusted(policy)
    const store = Context.getOrUndefined(fiber.context, BodyStore)
    const window = Math.max(windowMin, 4 * limits.concurrency, 256)
    const wants = { store, keeps: false, cutBytes: undefined }
    return Effect.succeed(Dispatch.stream({ engine, limits, untrustedLimits, wants, fiber, window }, makeSource))
  }))

/** Milliseconds that the deadline of this context leaves. */
const remainingMillis = (context: Context.Context<never>, clock: Clock.Clock): number =>
  effectiveMillis(Context.get(context, CurrentDeadline)) - clock.currentTimeMillisUnsafe()

/** Requests of one policy share a session, and so its limits. */
const sessions = (make: (limits: Limits.Limits) => Session) => {
  const known = new WeakMap<Limits.Limits, Session>()
  return (limits: Limits.Limits): Session => {
    const session = known.get(limits) ?? make(limits)
    known.set(limits, session)
    return session
  }
}

/** One request at a time, from any number of fibers. */
const singles = (sessionOf: (limits: Limits.Limits) => Session) =>
<A, E>(
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
    const wants = { keeps, store: Context.getOrUndefined(fiber.context, BodyStore), cutBytes: undefined }
    return Effect.callback<A, E>((resume) => {
      const task = Task.make(checked.success, limits, wants, fiber.context, settle(resume))
      session.add(task)
      session.pump()
      return Effect.suspend(() => Fiber.interruptAll(session.cancel(task)))
    })
  })

const flatHeaders = (end: AttemptEnd): Readonly<Record<string, string>> => {
  const flat: Record<string, string> = {}
  for (const name of Object.keys(end.headers)) {
    const value = headerOf(end.headers, name)
    if (value !== undefined) flat[name] = value
  }
  return flat
}
