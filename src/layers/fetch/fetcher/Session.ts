/**
 * The dispatcher: takes tasks in, starts as many as the policy and the gates of their hosts allow, and hands outcomes out. One fiber for
 * each attempt under way and none for anything that waits.
 */
import { Cause, type Effect, Exit, type Fiber } from "effect"
import type * as HttpClientError from "effect/http/HttpClientError"
import type { FetchError } from "../../../services/fetch/FetchError.ts"
import { DeadlineExceeded } from "../../../services/fetch/FetchError.ts"
import { type HostGate, RateGate } from "../../../services/fetch/HostGate.ts"
import * as Attempt from "./Attempt.ts"
import type { Engine } from "./Engine.ts"
import type { Limits } from "./Limits.ts"
import * as Task from "./Task.ts"

type AttemptError = HttpClientError.HttpClientError | FetchError

/** Starts the fiber of an attempt. */
export type Fork = (
  effect: Effect.Effect<Attempt.AttemptEnd, AttemptError>,
  task: Task.Task
) => Fiber.Fiber<Attempt.AttemptEnd, AttemptError>

/** The tasks of one host that wait, oldest first. */
class HostQueue {
  readonly gate: HostGate
  private first: Task.Task | undefined = undefined
  private last: Task.Task | undefined = undefined
  /** Whether it stands in the line of those that may start something. */
  isReady = false

  constructor(gate: HostGate) {
    this.gate = gate
  }

  get isEmpty(): boolean {
    return this.first === undefined
  }

  pushBack(task: Task.Task): void {
    task.next = undefined
    if (this.last === undefined) this.first = task
    else this.last.next = task
    this.last = task
  }

  pushFront(task: Task.Task): void {
    task.next = this.first
    this.first = task
    this.last ??= task
  }

  shift(): Task.Task | undefined {
    const task = this.first
    if (task === undefined) return undefined
    this.first = task.next
    if (this.first === undefined) this.last = undefined
    task.next = undefined
    return task
  }
}

/** What a session is told by its owner and tells it. */
export interface SessionHooks {
  readonly fork: Fork
  /** Whether one more may be started: false while outcomes wait to be taken. */
  readonly hasRoom: () => boolean
  /** Tasks were taken from the queues, or a gate has opened: the source may have more now. */
  readonly onRoom: () => void
}

export class Session {
  readonly limits: Limits
  /** Attempts under way. */
  active = 0
  /** Tasks that wait for a gate. */
  queued = 0
  /** Tasks that wait for their next attempt. */
  waiting = 0
  /** Hosts whose gate was found shut. */
  readonly shut = new Set<string>()
  private readonly engine: Engine
  private readonly hooks: SessionHooks
  private readonly rate = new RateGate()
  private readonly queues = new Map<string, HostQueue>()
  private readonly ready: Array<HostQueue> = []
  private readonly fibers = new Map<Task.Task, Fiber.Fiber<unknown, unknown>>()
  private readonly cancelled = new WeakSet<Task.Task>()
  private wakesAtMillis = Infinity
  private isPumping = false
  private isClosed = false

  constructor(engine: Engine, limits: Limits, hooks: SessionHooks) {
    this.engine = engine
    this.limits = limits
    this.hooks = hooks
  }

  /** Nothing is under way and nothing waits. */
  get isIdle(): boolean {
    return this.active === 0 && this.queued === 0 && this.waiting === 0
  }

  add(task: Task.Task): void {
    this.enqueue(task, false)
  }

  /** Forgets a task: its fiber, if it is under way, is to be interrupted by the caller. */
  cancel(task: Task.Task): Fiber.Fiber<unknown, unknown> | undefined {
    this.cancelled.add(task)
    return this.fibers.get(task)
  }

  /** Starts nothing any more. */
  close(): void {
    this.isClosed = true
    this.engine.alarm.forget(this)
    for (const queue of this.queues.values()) if (!queue.isEmpty) queue.gate.queued--
    this.queues.clear()
    this.ready.length = 0
  }

  /** Starts what may start now. */
  pump(): void {
    if (this.isPumping || this.isClosed) return
    this.isPumping = true
    const before = this.queued
    while (this.active < this.limits.concurrency && this.hooks.hasRoom()) {
      const queue = this.ready[0]
      if (queue === undefined) break
      const nowMillis = this.engine.alarm.now()
      const opensAtMillis = this.rate.opensAt(this.limits.ratePerSecond, nowMillis)
      if (opensAtMillis > nowMillis) {
        this.wakeAt(opensAtMillis)
        break
      }
      this.ready.shift()
      queue.isReady = false
      this.startFrom(queue, nowMillis)
    }
    this.isPumping = false
    if (this.queued < before) this.hooks.onRoom()
  }

  /** The rate allows the next start then; one timer for however many ask. */
  private wakeAt(atMillis: number): void {
    if (this.wakesAtMillis <= atMillis) return
    this.wakesAtMillis = atMillis
    this.engine.alarm.at(atMillis, this, () => {
      this.wakesAtMillis = Infinity
      this.pump()
    })
  }

  private enqueue(task: Task.Task, isFront: boolean): void {
    if (this.isClosed) return
    const { host } = task.current
    let queue = this.queues.get(host)
    if (queue === undefined) {
      queue = new HostQueue(this.engine.gates.get(host, this.engine.alarm.now()))
      this.queues.set(host, queue)
    }
    if (queue.isEmpty) queue.gate.queued++
    if (isFront) queue.pushFront(task)
    else queue.pushBack(task)
    this.queued++
    if (!this.shut.has(host)) this.makeReady(queue)
  }

  private makeReady(queue: HostQueue): void {
    if (queue.isReady) return
    queue.isReady = true
    this.ready.push(queue)
  }

  private startFrom(queue: HostQueue, nowMillis: number): void {
    const { gate } = queue
    const opensAtMillis = gate.tryStart(this.limits, nowMillis)
    if (opensAtMillis !== undefined) {
      this.shut.add(gate.host)
      const open = () => {
        this.shut.delete(gate.host)
        if (this.isClosed || queue.isEmpty) return
        this.makeReady(queue)
        this.pump()
        this.hooks.onRoom()
      }
      if (opensAtMillis === Infinity) gate.waiting.add(open)
      else this.engine.alarm.at(opensAtMillis, this, open)
      return
    }
    this.rate.start(this.limits.ratePerSecond, nowMillis)
    const task = queue.shift()
    this.queued--
    if (queue.isEmpty) {
      gate.queued--
      this.queues.delete(gate.host)
    } else this.makeReady(queue)
    if (task === undefined || this.cancelled.has(task)) {
      gate.end()
      return
    }
    this.start(task, gate, nowMillis)
  }

  private start(task: Task.Task, gate: HostGate, nowMillis: number): void {
    if (task.startedAt < 0) {
      task.startedAt = this.engine.wallMillis()
      task.startedAtMillis = nowMillis
    } else if (Task.endsAt(task) <= nowMillis) {
      // It waited at a gate for the rest of its time.
      gate.end()
      const { url } = task.current
      return this.settle(
        task,
        undefined,
        new DeadlineExceeded({ url, limitMillis: task.limits.totalMillis, bytesReceived: 0 })
      )
    }
    if (!task.isHop) task.attempts++
    const { alarm, client } = this.engine
    const attempt = new Attempt.Attempt(
      task.current,
      task.limits,
      alarm,
      nowMillis,
      task.spentMillis,
      Task.endsAt(task)
    )
    this.active++
    const fiber = this.hooks.fork(
      Attempt.run(client, this.engine.requestOf(task.current), attempt, task.wants),
      task
    )
    this.fibers.set(task, fiber)
    attempt.interrupt = () => fiber.interruptUnsafe()
    this.engine.entered(attempt)
    fiber.addObserver((exit) => {
      this.fibers.delete(task)
      this.engine.left(attempt)
      this.active--
      if (!this.cancelled.has(task) && !this.isClosed) this.ended(task, attempt, gate, exit, nowMillis)
      // Only now: what the end has told of the host counts for who comes next.
      gate.end()
      this.pump()
    })
  }

  private ended(
    task: Task.Task,
    attempt: Attempt.Attempt,
    gate: HostGate,
    exit: Exit.Exit<Attempt.AttemptEnd, AttemptError>,
    startedAtMillis: number
  ): void {
    const now = this.engine.now()
    if (Exit.isSuccess(exit)) {
      return this.follow(task, gate, Task.afterResponse(task, exit.value, now), now, startedAtMillis)
    }
    const error = attempt.expired ?? exit.cause.reasons.find(Cause.isFailReason)?.error
    if (error === undefined) {
      // A bug, or interrupted from elsewhere: there is no error to report, only the cause to hand on.
      const cause = Cause.hasInterruptsOnly(exit.cause) ? Cause.interrupt() : Cause.die(Cause.squash(exit.cause))
      return task.settle(undefined, undefined, undefined, task, cause)
    }
    const step = Task.afterFailure(task, Attempt.failureOf(error, attempt), now)
    this.follow(task, gate, step, now, startedAtMillis)
  }

  private follow(task: Task.Task, gate: HostGate, step: Task.Step, now: Task.Now, startedAtMillis: number): void {
    switch (step._tag) {
      case "Success":
        return this.settle(task, step.end, undefined, now)
      case "Failure":
        return this.settle(task, step.end, step.error, now)
      case "Hop": {
        task.isHop = true
        task.spentMillis += now.nowMillis - startedAtMillis
        return this.enqueue(task, true)
      }
      case "Retry": {
        if (step.blockMillis > 0) gate.block(now.nowMillis + step.blockMillis)
        Task.restart(task)
        this.waiting++
        this.engine.alarm.at(now.nowMillis + step.waitMillis, this, () => {
          this.waiting--
          if (this.cancelled.has(task)) return
          this.enqueue(task, true)
          this.pump()
        })
      }
    }
  }

  private settle(
    task: Task.Task,
    end: Attempt.AttemptEnd | undefined,
    error: FetchError | undefined,
    now: Task.Now = this.engine.now()
  ): void {
    task.settle(Task.outcome(task, end, error, now), end, error, task, undefined)
  }
}
