/**
 * The dispatcher: takes tasks in, starts as many as the policy and the gates of their hosts allow, and hands outcomes out. One fiber for
 * each attempt under way and none for anything that waits.
 */
import type { Fiber } from "effect"
import { type FetchError, RobotsDisallowed } from "../../../services/fetch/FetchError.ts"
import type { Refusal } from "../../../services/fetch/HostGate.ts"
import { RateGate } from "../../../services/fetch/RateGate.ts"
import * as Redact from "../../../services/fetch/Redact.ts"
import { TaskNode } from "../../../services/tasks/TaskNode.ts"
import type { Sink } from "./BodySink.ts"
import * as Task from "./Call.ts"
import { HostQueue } from "./HostQueue.ts"
import type { Engine } from "./Hub.ts"
import { Flights, type Fork } from "./InFlight.ts"
import type { Limits } from "./Limits.ts"

/** What a session is told by its owner and tells it. */
export interface SessionHooks {
  readonly fork: Fork
  /** The task of the live tree that it belongs to. */
  readonly parent: TaskNode
  /** Bodies under way: what is in it when the session's owner ends is the owner's to close. */
  readonly sinks: Set<Sink>
  /** Milliseconds that the caller's own deadline leaves a task; `Infinity` without one. */
  readonly remainingMillis: (task: Task.Task) => number
  /** Whether one more may be started: false while outcomes wait to be taken. */
  readonly hasRoom: () => boolean
  /** Tasks were taken from the queues, or a gate has opened: the source may have more now. */
  readonly onRoom: () => void
}

export class Session {
  readonly limits: Limits
  /** Tasks that wait for a gate. */
  queued = 0
  /** Tasks that wait for their next attempt, or for a robots.txt. */
  waiting = 0
  /** Hosts whose gate was found shut. */
  readonly shut = new Set<string>()
  readonly node: TaskNode
  private readonly engine: Engine
  private readonly hooks: SessionHooks
  private readonly flights: Flights
  private readonly rate = new RateGate()
  private readonly queues = new Map<string, HostQueue>()
  private readonly ready: Array<HostQueue> = []
  private wakesAtMillis = Infinity
  private isPumping = false
  private isClosed = false

  constructor(engine: Engine, limits: Limits, hooks: SessionHooks) {
    this.engine = engine
    this.limits = limits
    this.hooks = hooks
    this.node = new TaskNode("group", () => this.label(), hooks.parent, engine.wallMillis())
    this.flights = new Flights({
      owner: this,
      engine,
      fork: hooks.fork,
      node: this.node,
      sinks: hooks.sinks,
      remainingMillis: hooks.remainingMillis,
      isClosed: () => this.isClosed,
      again: (task, atMillis) => atMillis === undefined ? this.enqueue(task, true) : this.later(task, atMillis),
      onEnd: () => {
        this.pump()
        if (this.isIdle) this.hooks.onRoom()
      }
    })
  }

  /** Attempts under way. */
  get active(): number {
    return this.flights.count
  }

  /** Nothing is under way and nothing waits. */
  get isIdle(): boolean {
    return this.active === 0 && this.queued === 0 && this.waiting === 0
  }

  add(task: Task.Task): void {
    this.enqueue(task, false)
  }

  /** Forgets a task. Its fibers are the caller's to interrupt. */
  cancel(task: Task.Task): ReadonlyArray<Fiber.Fiber<unknown, unknown>> {
    task.isCancelled = true
    if (task.sink !== undefined) this.hooks.fork(task.sink.close, undefined)
    return task.flights.flatMap(({ fiber }) => fiber ?? [])
  }

  /** Forgets tasks wherever they are, and ends what is under way of them. */
  forget(tasks: Iterable<Task.Task>): void {
    const fibers = Array.from(tasks).flatMap((task) => this.cancel(task))
    for (const [host, queue] of this.queues) {
      this.queued -= queue.dropCancelled()
      if (!queue.isEmpty) continue
      queue.gate.queued--
      queue.isReady = false
      this.queues.delete(host)
    }
    this.ready.splice(0, Infinity, ...this.ready.filter((queue) => queue.isReady))
    // Only now: a place that becomes free goes to nothing that is forgotten.
    for (const fiber of fibers) fiber.interruptUnsafe()
  }

  /** Starts nothing any more. */
  close(): void {
    this.isClosed = true
    this.node.detach()
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

  private label(): string {
    return `fetching: ${this.active} under way, ${this.queued} at gates, ${this.waiting} between attempts`
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

  private later(task: Task.Task, atMillis: number): void {
    this.waiting++
    this.engine.alarm.at(atMillis, this, () => {
      this.waiting--
      this.enqueue(task, true)
      this.pump()
    })
  }

  private enqueue(task: Task.Task, isFront: boolean): void {
    if (this.isClosed) return
    // It may have been the last one that was waited for.
    if (task.isCancelled) return this.hooks.onRoom()
    const { current: { host }, limits } = task
    if (limits.robots && !this.passesRobots(task)) return
    let queue = this.queues.get(host)
    if (queue === undefined) {
      queue = new HostQueue(this.engine.gates.get(host, limits.forgiveMillis, this.engine.alarm.now()))
      this.queues.set(host, queue)
    }
    if (queue.isEmpty) queue.gate.queued++
    queue.push(task, isFront)
    this.queued++
    if (!this.shut.has(host)) this.makeReady(queue)
  }

  private makeReady(queue: HostQueue): void {
    if (queue.isReady) return
    queue.isReady = true
    this.ready.push(queue)
  }

  /** Takes the next task of a host whose turn it is, as far as its gate allows. */
  private startFrom(queue: HostQueue, nowMillis: number): void {
    const { gate } = queue
    const refusal = gate.refusal(this.limits, nowMillis)
    const opensAtMillis = refusal === undefined ? gate.tryStart(this.limits, nowMillis) : undefined
    if (opensAtMillis !== undefined) return this.shutUntil(queue, opensAtMillis)
    const task = queue.shift()
    this.queued--
    if (queue.isEmpty) {
      gate.queued--
      this.queues.delete(gate.host)
    } else this.makeReady(queue)
    if (refusal !== undefined) {
      if (task !== undefined && !task.isCancelled) this.refuse(task, refusal)
      return
    }
    if (task === undefined || task.isCancelled) return gate.end()
    this.rate.start(this.limits.ratePerSecond, nowMillis)
    this.flights.start(task, gate, nowMillis)
  }

  private shutUntil(queue: HostQueue, atMillis: number): void {
    const { gate } = queue
    this.shut.add(gate.host)
    const open = () => {
      this.shut.delete(gate.host)
      if (this.isClosed || queue.isEmpty) return
      this.makeReady(queue)
      this.pump()
      this.hooks.onRoom()
    }
    if (atMillis < Infinity) return this.engine.alarm.at(atMillis, this, open)
    gate.waiting.add(open)
    const widensAtMillis = gate.widensAtMillis(this.limits)
    if (widensAtMillis < Infinity) this.engine.alarm.at(widensAtMillis, this, () => gate.wake())
  }

  /** Ends a task without asking its host, which would have to be waited for longer than the patience. */
  private refuse(task: Task.Task, refusal: Refusal): void {
    this.fail(task, Task.refused(task, refusal, this.engine.now()))
  }

  /** Whether robots.txt lets a task pass; one that has to wait for it is put back when it has come. */
  private passesRobots(task: Task.Task): boolean {
    const { current, limits } = task
    const answer = this.engine.robots.ask(current, limits, () => {
      this.waiting--
      this.enqueue(task, true)
      this.pump()
    })
    if (answer._tag === "Rules") {
      if (answer.gapMillis > 0) {
        this.engine.gates.get(current.host, limits.forgiveMillis, this.engine.alarm.now()).gapMillis = answer.gapMillis
      }
      if (answer.allows(current.path)) return true
      this.fail(task, new RobotsDisallowed({ url: Redact.url(current.url) }))
      return false
    }
    if (answer._tag === "Refused") {
      this.fail(task, answer.error)
      return false
    }
    this.waiting++
    if (answer._tag === "Wait") this.shutFor(task, answer.untilMillis)
    else if (answer.task !== undefined) this.enqueue(answer.task, true)
    return false
  }

  /** Puts a task back at that time; until then its host has nothing to do. */
  private shutFor(task: Task.Task, atMillis: number): void {
    const { host } = task.current
    this.shut.add(host)
    this.engine.alarm.at(atMillis, this, () => {
      this.waiting--
      this.shut.delete(host)
      const queue = this.queues.get(host)
      if (queue !== undefined) this.makeReady(queue)
      this.enqueue(task, true)
      this.pump()
      this.hooks.onRoom()
    })
  }

  private fail(task: Task.Task, error: FetchError): void {
    task.settle(Task.outcome(task, undefined, error, this.engine.now()), undefined, error, task, undefined)
  }
}
