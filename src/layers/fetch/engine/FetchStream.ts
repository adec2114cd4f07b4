/**
 * A source of targets through a session to a stream of outcomes.
 */
import { Effect, type Fiber, FiberSet, type Scope, Stream } from "effect"
import type * as HttpClientError from "effect/http/HttpClientError"
import type { Fetched } from "../../../services/fetch/Fetcher.ts"
import type { FetchError } from "../../../services/fetch/FetchError.ts"
import type { FetchOutcome } from "../../../services/fetch/FetchOutcome.ts"
import type { FetchSource, Lending } from "../../../services/fetch/FetchSource.ts"
import type { HostState } from "../../../services/fetch/HostState.ts"
import * as Deadline from "../../../services/tasks/Deadline.ts"
import { CurrentTask } from "../../../services/tasks/TaskNode.ts"
import * as Sink from "./BodySink.ts"
import * as Task from "./Call.ts"
import { Session } from "./Dispatcher.ts"
import type { Engine } from "./Hub.ts"
import type { Limits } from "./Limits.ts"
import { Outlet } from "./Outlet.ts"

export interface DispatchOptions {
  readonly engine: Engine
  readonly limits: Limits
  /** For targets that came over the network. */
  readonly untrustedLimits: Limits
  readonly wants: Sink.Wants
  /** The fiber that fetches: its deadline and its place in the live tree hold for all. */
  readonly fiber: Fiber.Fiber<unknown, unknown>
  /** Targets that are held at most, so that there is a choice of hosts when some are shut. */
  readonly window: number
}

/** Outcomes in completion order. Leaving the stream interrupts what is in flight and waits until it has ended. */
export const stream = <E, R>(
  options: DispatchOptions,
  makeSource: (onInvalid: (fetched: Fetched) => void) => Effect.Effect<FetchSource<E, R>, never, R | Scope.Scope>
): Stream.Stream<Fetched, E, R> =>
  Stream.unwrap(Effect.gen(function*() {
    const { engine, fiber, limits, untrustedLimits, wants, window } = options
    // Added before the fibers, so run after them: what they leave of bodies is thrown away when they have ended.
    const sinks = new Set<Sink.Sink>()
    yield* Effect.addFinalizer(() => Sink.closeAll(sinks))
    const fibers = yield* FiberSet.make<unknown, HttpClientError.HttpClientError | FetchError>()
    const fork = yield* FiberSet.runtime(fibers)()
    const state = { isSourceDone: false, wake: () => {} }
    const outletMax = Math.max(64, 2 * limits.concurrency)
    const outlet = new Outlet<Fetched, E>(
      () => state.isSourceDone && session.isIdle,
      () => {
        session.pump()
        state.wake()
      }
    )
    const session = new Session(engine, limits, {
      fork: (effect) => fork(effect),
      parent: fiber.getRef(CurrentTask),
      sinks,
      remainingMillis: () => Deadline.remainingMillisUnsafe(fiber),
      hasRoom: () => session.active + outlet.size < limits.concurrency + outletMax && lending.isSure(),
      onRoom: () => {
        state.wake()
        if (session.isIdle) outlet.wake()
      }
    })
    yield* Effect.addFinalizer(() => Effect.sync(() => session.close()))
    session.node.attach()
    const settle: Task.Settle = (outcome, _end, _error, task, cause) => {
      lent.delete(task)
      if (outcome !== undefined) outlet.push(fetched(engine, limits, task, outcome))
      else if (cause !== undefined) outlet.fail(cause)
    }
    const source = yield* makeSource((fetched) => outlet.push(fetched))
    const lending = source.lending ?? kept
    const lent = new Set<Task.Task>()
    const unlisten = lending.listen((change) => {
      if (change === "lost") {
        const lost = Array.from(lent)
        // Before they end, which makes room for others that are not lost.
        lent.clear()
        session.forget(lost)
      }
      session.pump()
      state.wake()
      outlet.wake()
    })
    yield* Effect.addFinalizer(() => Effect.sync(unlisten))

    const room = () => window - session.queued - session.waiting
    /** Waits until something was taken or has opened; `isDue` is looked at again each time. */
    const until = (isDue: () => boolean): Effect.Effect<void> =>
      Effect.callback((resume) => {
        const look = () => {
          if (!isDue()) return
          state.wake = () => {}
          resume(Effect.void)
        }
        state.wake = look
        look()
      })
    const mayPull = () => outlet.size < outletMax && room() >= Math.min(window, Math.max(1, window >> 1))
    const feed: Effect.Effect<void, E, R> = Effect.suspend(() => {
      if (!mayPull()) return Effect.flatMap(until(mayPull), () => feed)
      const closedHosts = new Set(session.shut)
      return Effect.flatMap(source.pull({ limit: room(), closedHosts }), (supply) => {
        if (supply._tag === "Done") {
          state.isSourceDone = true
          outlet.wake()
          return Effect.void
        }
        if (supply._tag === "Wait") {
          const opened = until(() => hasOpened(closedHosts, session.shut))
          return Effect.flatMap(Effect.raceFirst(supply.wake, opened), () => feed)
        }
        if (supply.hosts !== undefined) recall(engine, limits, supply.hosts)
        for (const target of supply.targets) {
          const task = Task.make(target, target.untrusted === true ? untrustedLimits : limits, wants, undefined, settle)
          if (source.lending !== undefined) lent.add(task)
          session.add(task)
        }
        session.pump()
        return feed
      })
    })
    yield* Effect.forkScoped(Effect.catchCause(feed, (cause) => Effect.sync(() => outlet.fail(cause))))
    return Stream.fromPull(Effect.succeed(outlet.pull))
  }))

/** What nobody else can take. */
const kept: Lending = { isSure: () => true, listen: () => () => {} }

const fetched = (engine: Engine, limits: Limits, task: Task.Task, outcome: FetchOutcome): Fetched => {
  const nowMillis = engine.alarm.now()
  const gate = engine.gates.get(task.target.host, limits.forgiveMillis, nowMillis)
  const host = gate.remembered(nowMillis, engine.wallMillis())
  return host === undefined ? { target: task.target, outcome } : { target: task.target, outcome, host }
}

const recall = (engine: Engine, limits: Limits, hosts: ReadonlyArray<HostState>): void => {
  const nowMillis = engine.alarm.now()
  for (const host of hosts) {
    engine.gates.get(host.host, limits.forgiveMillis, nowMillis).recall(host, nowMillis, engine.wallMillis())
  }
}

/** Whether a host that was shut when the source was asked is open now. */
const hasOpened = (before: ReadonlySet<string>, now: ReadonlySet<string>): boolean => {
  for (const host of before) if (!now.has(host)) return true
  return false
}
