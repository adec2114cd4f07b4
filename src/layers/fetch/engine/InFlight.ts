/**
 * Attempts under way: each a fiber with its deadlines, and what its end means for its task and its host.
 */
import { Cause, Context, type Effect, Exit, type Fiber } from "effect"
import { DeadlineExceeded, type FetchError, ProtocolError } from "../../../services/fetch/FetchError.ts"
import type { HostGate } from "../../../services/fetch/HostGate.ts"
import { TokenBudget } from "../../../services/fetch/RateGate.ts"
import * as Redact from "../../../services/fetch/Redact.ts"
import * as Retry from "../../../services/fetch/Retry.ts"
import { CurrentTask, TaskNode } from "../../../services/tasks/TaskNode.ts"
import { Attempt } from "./Attempt.ts"
import type { Sink } from "./BodySink.ts"
import * as Task from "./Call.ts"
import type { AttemptError, Flight } from "./Flight.ts"
import type { Engine } from "./Hub.ts"
import * as Reception from "./Transfer.ts"

/** Starts the fiber of an attempt. */
export type Fork = <A, E extends AttemptError>(
  effect: Effect.Effect<A, E>,
  task: Task.Task | undefined
) => Fiber.Fiber<A, E>

/** What flights ask of their session. */
export interface Tower {
  /** Whose timers they are. */
  readonly owner: object
  readonly engine: Engine
  readonly fork: Fork
  readonly node: TaskNode
  /** Sinks that are open. */
  readonly sinks: Set<Sink>
  /** Milliseconds that the caller's own deadline leaves a task; `Infinity` without one. */
  readonly remainingMillis: (task: Task.Task) => number
  readonly isClosed: () => boolean
  /** To the front of its host's queue, now or at that time. */
  readonly again: (task: Task.Task, atMillis: number | undefined) => void
  /** A place is free. */
  readonly onEnd: () => void
}

export class Flights {
  /** How many are under way. */
  count = 0
  private readonly tower: Tower
  private readonly hedges = new TokenBudget(10)

  constructor(tower: Tower) {
    this.tower = tower
  }

  /** Starts an attempt of a task whose place at the gate is taken. */
  start(task: Task.Task, gate: HostGate, nowMillis: number): void {
    const { engine } = this.tower
    if (task.startedAt < 0) {
      task.startedAt = engine.wallMillis()
      task.startedAtMillis = nowMillis
      gate.asked(task.limits)
    } else if (Task.endsAt(task) <= nowMillis) {
      // It waited at a gate for the rest of its time.
      gate.end()
      const url = Redact.url(task.current.url)
      return this.settle(
        task,
        undefined,
        new DeadlineExceeded({ url, limitMillis: task.limits.totalMillis, bytesReceived: 0 }),
        engine.now()
      )
    }
    if (!task.isHop) task.attempts++
    const flight = this.launch(task, gate, nowMillis)
    if (task.limits.hedgeAfterMillis !== Infinity && isHedged(task)) this.hedgeLater(task, flight, nowMillis)
  }

  private launch(task: Task.Task, gate: HostGate, nowMillis: number): Flight {
    const { engine, fork, sinks } = this.tower
    const parent = task.context === undefined ? this.tower.node : Context.get(task.context, CurrentTask)
    const endsAtMillis = Math.min(Task.endsAt(task), nowMillis + this.tower.remainingMillis(task))
    const { current, limits, sink, spentMillis } = task
    task.sink = undefined
    const totalMillis = Math.round(endsAtMillis - task.startedAtMillis)
    const { alarm } = engine
    const attempt = new Attempt(current, limits, alarm, sinks, sink, nowMillis, spentMillis, endsAtMillis, totalMillis)
    const flight: Flight = {
      attempt,
      gate,
      node: new TaskNode("task", () => `fetch ${Redact.url(current.url)}`, parent, task.startedAt),
      startedAtMillis: nowMillis,
      ticket: gate.started,
      fiber: undefined,
      isLoser: false
    }
    this.count++
    task.flights.push(flight)
    flight.node.attach()
    engine.entered(attempt)
    const request = engine.requestOf(current, limits.userAgent, sink?.resumeHeaders)
    const fiber = fork(Reception.run(engine.client, request, attempt, task.wants), task)
    flight.fiber = fiber
    attempt.interrupt = () => fiber.interruptUnsafe()
    fiber.addObserver((exit) => this.ended(task, flight, exit))
    return flight
  }

  private ended(task: Task.Task, flight: Flight, exit: Exit.Exit<Reception.AttemptEnd, AttemptError>): void {
    const { attempt, gate } = flight
    task.flights.splice(task.flights.indexOf(flight), 1)
    this.count--
    flight.node.detach()
    this.tower.engine.left(attempt)
    const isWanted = !flight.isLoser && !task.isCancelled && !this.tower.isClosed()
    if (isWanted) this.decide(task, flight, exit)
    // What there is of the body is either with the task now or not wanted any more.
    if (attempt.sink !== undefined && attempt.sink !== task.sink) this.drop(attempt.sink)
    // Only now: what the end has told of the host counts for who comes next.
    gate.end()
    this.tower.onEnd()
  }

  private decide(task: Task.Task, flight: Flight, exit: Exit.Exit<Reception.AttemptEnd, AttemptError>): void {
    const { attempt, gate } = flight
    const now = this.tower.engine.now()
    if (Exit.isSuccess(exit)) return this.follow(task, flight, this.afterResponse(task, flight, exit.value, now), now)
    const cause = attempt.expired ?? exit.cause.reasons.find(Cause.isFailReason)?.error
    if (cause === undefined) {
      // A bug, or interrupted from elsewhere: there is no error to report, only the cause to hand on.
      const why = Cause.hasInterruptsOnly(exit.cause) ? Cause.interrupt() : Cause.die(Cause.squash(exit.cause))
      return task.settle(undefined, undefined, undefined, task, why)
    }
    const error = Reception.failureOf(cause, attempt)
    if (Retry.isHostFault(error, task.attempts)) gate.failed(task.limits, now.nowMillis)
    this.follow(task, flight, Task.afterFailure(task, error, now), now)
  }

  /** What a response tells of its host, and what follows it for the task. */
  private afterResponse(task: Task.Task, flight: Flight, end: Reception.AttemptEnd, now: Task.Now): Task.Step {
    const { attempt, gate, ticket } = flight
    if (end.status === 416 && attempt.sink !== undefined) {
      // The rest of the body is not to be had: it is asked for whole again.
      const code = "RANGE_REFUSED"
      const url = Redact.url(task.current.url)
      return Task.afterFailure(task, new ProtocolError({ url, code, bytesReceived: attempt.sink.bytes }), now)
    }
    if (!Retry.isThrottling(end.status)) {
      gate.answered(task.limits, now.nowMillis)
      return Task.afterResponse(task, end, now, undefined)
    }
    const askedMillis = Retry.retryAfterMillis(Reception.headerOf(end.headers, "retry-after"), now.wallMillis)
    const refused = { status: end.status, askedMillis, ticket, isAgain: task.attempts > 1 }
    gate.refused(task.limits, refused, now.nowMillis, now.chance())
    return Task.afterResponse(task, end, now, askedMillis)
  }

  private follow(task: Task.Task, flight: Flight, step: Task.Step, now: Task.Now): void {
    const hasFailed = step._tag === "Failure" || step._tag === "Retry"
    // A hedged request that fails leaves the decision to the other one.
    if (hasFailed && task.flights.length > 0) return
    for (const other of task.flights) {
      other.isLoser = true
      other.fiber?.interruptUnsafe()
    }
    switch (step._tag) {
      case "Success":
        this.hedges.earn(task.limits.hedgeRatio)
        return this.settle(task, step.end, undefined, now)
      case "Failure":
        return this.settle(task, step.end, step.error, now)
      case "Hop":
        task.isHop = true
        task.spentMillis += now.nowMillis - flight.startedAtMillis
        return this.tower.again(task, undefined)
      case "Retry": {
        if (!flight.gate.takeRetry(task.limits, now.nowMillis)) return this.settle(task, step.end, step.error, now)
        const { sink } = flight.attempt
        const keeps = sink?.resumeHeaders !== undefined && task.current === task.target &&
          !(step.error._tag === "ProtocolError" && ownCodes.has(step.error.code))
        Task.restart(task)
        if (keeps) task.sink = sink
        return this.tower.again(task, now.nowMillis + step.waitMillis)
      }
    }
  }

  private hedgeLater(task: Task.Task, flight: Flight, nowMillis: number): void {
    const { alarm } = this.tower.engine
    alarm.at(nowMillis + task.limits.hedgeAfterMillis, this.tower.owner, () => {
      const isWaiting = task.flights.length === 1 && task.flights[0] === flight && flight.attempt.phase !== "body"
      if (!isWaiting || task.isCancelled || this.tower.isClosed()) return
      const atMillis = alarm.now()
      if (!this.hedges.spend(0, atMillis)) return
      if (flight.gate.tryStart(task.limits, atMillis) === undefined) this.launch(task, flight.gate, atMillis)
    })
  }

  private drop(sink: Sink): void {
    this.tower.fork(sink.close, undefined)
  }

  private settle(
    task: Task.Task,
    end: Reception.AttemptEnd | undefined,
    error: FetchError | undefined,
    now: Task.Now
  ): void {
    task.settle(Task.outcome(task, end, error, now), end, error, task, undefined)
  }
}

/** Faults of resuming itself: what is there of the body is not to be trusted. */
const ownCodes = new Set(["RANGE_REFUSED", "BAD_CONTENT_RANGE", "UNSOLICITED_PARTIAL"])

/** Only what may be sent twice without a trace, and whose body goes to one place. */
const isHedged = ({ current: { request: { method } }, wants }: Task.Task): boolean =>
  (method === undefined || method === "GET" || method === "HEAD") && wants.store === undefined
