import { Cause, Clock, Context, Duration, Effect, Exit, type Fiber, Option } from "effect"
import { because } from "./CancelReason.ts"
import { CurrentDeadline, type DeadlineNode } from "./CurrentDeadline.ts"
import { Failures } from "./Failures.ts"
import * as Grace from "./Grace.ts"
import { CurrentTask, type Label, render, type Stoppable, TaskNode } from "./TaskNode.ts"

/** How many of those left behind are named. */
const namesMax = 64

const notForked: Effect.Effect<undefined> = Effect.as(Effect.void, undefined)

type ExitHook<A, E> = (exit: Exit.Exit<A, E>) => boolean

/** What happens when a child fails: `cancel` stops the group with that failure, `keep` leaves it to who reads the task. */
export type OnFailure = "cancel" | "keep"

/**
 * The one mechanism below `TaskGroup` and `FanOut`: it forks children, counts them, records the first failure with the
 * others beside it, cancels, and lets the owner go on only when all have ended (or have overstayed their grace).
 *
 * @internal
 */
export class GroupCore<E> implements Stoppable {
  readonly node: TaskNode
  readonly onFailure: OnFailure
  readonly grace: Duration.Duration
  readonly deadline: DeadlineNode | undefined
  phase: "open" | "closing" | "closed" = "open"
  /** Children that live; the body is counted apart. */
  live = 0
  private bodyFiber: Fiber.Fiber<unknown, unknown> | undefined = undefined
  private isBodyRunning = true
  private isBodyStopped = false
  /** Cancelled as a whole: whatever its body gave, its owner is interrupted. */
  private isCancelled = false
  private readonly failures = new Failures<E>()
  private onEnded: (() => void) | undefined = undefined
  private readonly observers = new Set<() => void>()

  constructor(node: TaskNode, deadline: DeadlineNode | undefined, onFailure: OnFailure, grace: Duration.Duration) {
    this.node = node
    this.deadline = deadline
    this.onFailure = onFailure
    this.grace = grace
    node.group = this
  }

  /** Forks a child that starts at once. `undefined` when the group is no longer open: then nothing has run. */
  fork<A, E1, R>(
    effect: Effect.Effect<A, E1, R>,
    label: Label,
    hook: ExitHook<A, E1> | undefined,
    parent: Fiber.Fiber<unknown, unknown>
  ): Effect.Effect<ForkedTask<A, E1> | undefined, never, R> {
    if (this.phase !== "open") return notForked
    const node = new TaskNode("task", label, this.node, parent.getRef(Clock.Clock).currentTimeMillisUnsafe())
    return Effect.map(
      Effect.forkDetach(this.child(node, effect, hook, node.startsBelow(parent)), { startImmediately: true }),
      // A fiber that was not attached found the group closed under its feet.
      (fiber) => node.fiber === undefined ? undefined : { node, fiber }
    )
  }

  private child<A, E1, R>(
    node: TaskNode,
    effect: Effect.Effect<A, E1, R>,
    hook: ExitHook<A, E1> | undefined,
    isPutOff: boolean
  ): Effect.Effect<A, E1, R> {
    // The first step registers: between a fork and a step of the spawner, an interruption could lose the child.
    return Effect.withFiber((fiber) => {
      if (this.phase !== "open") return Effect.interrupt
      node.fiber = fiber
      node.attach()
      this.live++
      // The fiber that runs this very effect has these types; withFiber cannot know it.
      const self = fiber as unknown as Fiber.Fiber<A, E1>
      self.addObserver((exit) => this.childEnded(node, exit, hook))
      let context = Context.add(fiber.context, CurrentTask, node)
      // A child lives as long as the group: it has the group's deadline and not the one of who spawned it.
      if (fiber.getRef(CurrentDeadline) !== this.deadline) {
        context = Context.add(context, CurrentDeadline, this.deadline)
      }
      fiber.setContext(context)
      return isPutOff ? Effect.andThen(Effect.yieldNow, effect) : effect
    })
  }

  private childEnded<A, E1>(node: TaskNode, exit: Exit.Exit<A, E1>, hook: ExitHook<A, E1> | undefined): void {
    node.detach()
    this.live--
    const isHandled = hook === undefined ? false : hook(exit)
    if (!isHandled && this.onFailure === "cancel" && Exit.isFailure(exit)) {
      // The spawn functions only accept children whose errors are in E.
      this.failed(exit.cause as Cause.Cause<unknown> as Cause.Cause<E>, node.label)
    }
    this.notify()
    if (this.live === 0 && !this.isBodyRunning) this.ended()
    // The node of a group that left overstayers behind lives as long as they do.
    if (this.phase === "closed" && this.live === 0) this.node.detach()
  }

  /** Records a failure; the first one closes the group. Interruption alone is no failure. */
  failed(cause: Cause.Cause<E>, who: Label): void {
    if (this.failures.add(cause) === "first") this.stop(true, () => `${render(who)} failed`)
  }

  /** Remembers a defect that is not the outcome: it is logged when the group ends. */
  noteDefect(cause: Cause.Cause<unknown>): void {
    this.failures.addDefect(cause)
  }

  /** Closes the group and interrupts its children (and its body): the owner still waits for their cleanup. */
  stop(isBodyIncluded: boolean, why: Label): void {
    if (this.phase === "open") this.phase = "closing"
    this.node.isCancelling = true
    const children: Array<TaskNode> = []
    for (let child = this.node.firstChild; child !== undefined; child = child.next) {
      if (child.fiber === undefined || child.isCancelling) continue
      // Marked before the first interruption: cleanup that cancels its siblings finds nothing left to do.
      child.isCancelling = true
      children.push(child)
    }
    const body = isBodyIncluded && this.isBodyRunning ? this.bodyFiber : undefined
    // Interruption may run cleanup synchronously, which changes the list: it was copied first.
    if (children.length > 0 || body !== undefined) {
      const reason = because(render(why))
      for (const child of children) if (child.fiber !== undefined) child.interrupt(child.fiber, reason)
      if (body !== undefined) {
        this.isBodyStopped = true
        this.node.interrupt(body, reason)
      }
    }
    this.notify()
  }

  /** Interrupts children and body, and waits until all have ended: the owner goes on as interrupted. */
  get cancelled(): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      this.isCancelled = true
      this.stop(true, () => `${render(this.node.label)} was cancelled`)
      if (this.phase === "closed") return resume(Effect.void)
      return this.observe(() => {
        if (this.phase === "closed") resume(Effect.void)
      })
    })
  }

  private notify(): void {
    for (const observer of this.observers) observer()
  }

  /** Calls back whenever a child or the body ends and when the group begins to close; the effect removes it. */
  observe(observer: () => void): Effect.Effect<void> {
    this.observers.add(observer)
    return Effect.sync(() => {
      this.observers.delete(observer)
    })
  }

  private ended(): void {
    if (this.phase === "closed") return
    this.phase = "closed"
    if (this.live === 0) this.node.detach()
    const onEnded = this.onEnded
    this.onEnded = undefined
    onEnded?.()
    this.notify()
  }

  private awaitEnd(owner: Fiber.Fiber<unknown, unknown>): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      if (this.phase === "closed") return resume(Effect.void)
      this.onEnded = () => this.node.stack.call(owner.currentDispatcher, () => resume(Effect.void))
    })
  }

  /** Waits for the end, at most for the grace; who has not ended by then is named in the log and left behind. */
  private drain(owner: Fiber.Fiber<unknown, unknown>): Effect.Effect<void> {
    if (!Duration.isFinite(this.grace)) return this.awaitEnd(owner)
    return Effect.flatMap(
      Grace.atMost(this.awaitEnd(owner), this.grace),
      (ended) => Option.isNone(ended) ? this.leaveOverstayers() : Effect.void
    )
  }

  private leaveOverstayers(): Effect.Effect<void> {
    const names: Array<string> = []
    for (let child = this.node.firstChild; child !== undefined; child = child.next) {
      child.isOverstaying = true
      if (names.length < namesMax) names.push(render(child.label))
    }
    if (this.isBodyRunning) names.push(`the body of ${render(this.node.label)}`)
    this.ended()
    return Effect.logWarning(
      `${render(this.node.label)}: left behind after a grace of ${Duration.format(this.grace)}: ${names.join(", ")}`
    )
  }

  /** Runs the body with its children: the owner leaves when all have ended. */
  run<A, E2, R>(
    body: Effect.Effect<A, E2, R>,
    owner: Fiber.Fiber<unknown, unknown>,
    restore: <A2, E3, R2>(effect: Effect.Effect<A2, E3, R2>) => Effect.Effect<A2, E3, R2>
  ): Effect.Effect<A, E | E2, R> {
    let bodyExit: Exit.Exit<A, E2> | undefined
    const start: Effect.Effect<A, E2, R> = Effect.withFiber((fiber) => {
      this.bodyFiber = fiber
      this.node.attach()
      const self = fiber as unknown as Fiber.Fiber<A, E2>
      self.addObserver((exit) => {
        bodyExit = exit
        this.bodyEnded(exit)
      })
      fiber.setContext(Context.add(fiber.context, CurrentTask, this.node))
      // Only the group can interrupt this fiber, and it must, also where the owner is uninterruptible: a finalizer, say.
      const started = Effect.interruptible(body)
      return isPutOff ? Effect.andThen(Effect.yieldNow, started) : started
    })
    const isPutOff = this.node.startsBelow(owner)
    const settle = Effect.suspend(() => this.settle(bodyExit))
    return Effect.flatMap(
      Effect.forkDetach(start, { startImmediately: true, uninterruptible: true }),
      () =>
        Effect.matchCauseEffect(restore(this.awaitSettling(owner)), {
          onFailure: (cause) => {
            this.stop(true, () => `the owner of ${render(this.node.label)} was interrupted`)
            // What fails on the way out is known when all have ended.
            const failed = Effect.suspend(() => Effect.failCause(this.failures.behind(cause)))
            return Effect.andThen(this.drain(owner), Effect.andThen(this.report, failed))
          },
          onSuccess: () => Effect.andThen(this.phase === "closed" ? Effect.void : this.drain(owner), settle)
        })
    )
  }

  /** Ends when all have ended, or, where a grace limits the wait, as soon as the group begins to close. */
  private awaitSettling(owner: Fiber.Fiber<unknown, unknown>): Effect.Effect<void> {
    if (!Duration.isFinite(this.grace)) return this.awaitEnd(owner)
    return Effect.callback<void>((resume) => {
      const check = () => {
        const isStopping = this.phase === "closing" && (!this.isBodyRunning || this.isBodyStopped)
        if (isStopping || this.phase === "closed") {
          this.node.stack.call(owner.currentDispatcher, () => resume(Effect.void))
        }
      }
      this.onEnded = check
      const forget = this.observe(check)
      check()
      return forget
    })
  }

  private bodyEnded(exit: Exit.Exit<unknown, unknown>): void {
    this.isBodyRunning = false
    if (Exit.isFailure(exit)) {
      this.failed(exit.cause as Cause.Cause<E>, () => `the body of ${render(this.node.label)}`)
      // A body that was interrupted (it joined a cancelled task, say) has given up its group.
      this.stop(false, () => `the body of ${render(this.node.label)} was interrupted`)
    }
    if (this.live === 0) this.ended()
    else this.notify()
  }

  private settle<A, E2>(bodyExit: Exit.Exit<A, E2> | undefined): Effect.Effect<A, E | E2> {
    if (!this.failures.isEmpty) {
      return Effect.andThen(this.report, Effect.failCause(this.failures.behind(Cause.fromReasons<E>([]))))
    }
    return Effect.andThen(this.report, this.isCancelled || bodyExit === undefined ? Effect.interrupt : bodyExit)
  }

  private get report(): Effect.Effect<void> {
    return Effect.suspend(() => this.failures.report(this.node.label))
  }
}

/** @internal */
export interface ForkedTask<A, E> {
  readonly node: TaskNode
  readonly fiber: Fiber.Fiber<A, E>
}
