import { Clock, Context, type Effect, type Fiber, Result } from "effect"
import * as CallStack from "./CallStack.ts"

/** What a node of the live tree stands for. */
export type Kind = "root" | "task" | "group"

/** A text, or the way to make it: a name that nobody reads is never built. */
export type Label = string | (() => string)

const nameMax = 1000

/**
 * The text of a label. It is called where nothing may go wrong (a fiber's observer, the dump of the tree): a label that
 * throws, or gives no text, is a name too.
 *
 * @internal
 */
export const render = (label: Label): string => {
  if (typeof label === "string") return label
  const text = Result.try(() => label().slice(0, nameMax))
  return Result.isSuccess(text) ? text.success : "(a name that throws)"
}

/** What stands behind a group's node: it can be told to stop. */
export interface Stoppable {
  /** Interrupts all that belongs to it and waits for its end. */
  readonly cancelled: Effect.Effect<void>
}

/**
 * One node of the live task tree: attached while the task lives, unlinked in O(1) when it ends.
 *
 * It is mutable and synchronous on purpose: it is touched once or twice per task on the hottest path of the house.
 * Programs read it through `Tasks`.
 */
export class TaskNode {
  readonly id: number
  readonly kind: Kind
  readonly label: Label
  readonly parent: TaskNode | undefined
  readonly root: TaskNode
  readonly depth: number
  readonly startedAtMillis: number
  /** The fiber that runs the task, where the task has one of its own. */
  fiber: Fiber.Fiber<unknown, unknown> | undefined = undefined
  /** The fiber in which named work runs: its caller's. */
  host: Fiber.Fiber<unknown, unknown> | undefined = undefined
  /** The group whose node this is. */
  group: Stoppable | undefined = undefined
  isCancelling = false
  isOverstaying = false
  childCount = 0
  firstChild: TaskNode | undefined = undefined
  next: TaskNode | undefined = undefined
  waits: Set<{ readonly what: Label }> | undefined = undefined
  private lastChild: TaskNode | undefined = undefined
  private previous: TaskNode | undefined = undefined
  private isAttached = false
  /** Root only: the last id given out, and how many nodes below it live now. */
  private lastId = 0
  liveCount = 0
  /** The one of its tree. */
  readonly stack: CallStack.CallStack
  /** The turn of the scheduler in which the task started, and how deep on the stack. */
  private startTurn = 0
  private startDepth = 0

  constructor(kind: Kind, label: Label, parent: TaskNode | undefined, startedAtMillis: number) {
    this.kind = kind
    this.label = label
    this.parent = parent
    this.root = parent === undefined ? this : parent.root
    this.depth = parent === undefined ? 0 : parent.depth + 1
    this.id = ++this.root.lastId
    this.startedAtMillis = startedAtMillis
    this.stack = parent === undefined ? new CallStack.CallStack() : parent.stack
    if (parent !== undefined) {
      this.startTurn = parent.startTurn
      this.startDepth = parent.startDepth
    }
  }

  /** Notes that this task starts on the stack of the spawner, and gives whether it had better wait for the next turn. */
  startsBelow(spawner: Fiber.Fiber<unknown, unknown>): boolean {
    const above = spawner.getRef(CurrentTask)
    // The turns of another tree are other turns.
    const depth = above.stack === this.stack
      ? this.stack.depthBelow(above.startTurn, above.startDepth, spawner)
      : 1
    this.startTurn = this.stack.turn
    this.startDepth = depth
    return CallStack.isTooDeep(depth)
  }

  /**
   * Marks the task as cancelled and interrupts it, in one step: whoever sees the mark may rely on the interruption, also
   * when the one who set it is interrupted right after.
   */
  interrupt(fiber: Fiber.Fiber<unknown, unknown>, reason?: Context.Context<never>): void {
    this.isCancelling = true
    this.stack.call(fiber.currentDispatcher, () => fiber.interruptUnsafe(undefined, reason))
  }

  /** Links this node below its parent. */
  attach(): void {
    const parent = this.parent
    if (parent === undefined || this.isAttached) return
    this.isAttached = true
    this.previous = parent.lastChild
    if (parent.lastChild === undefined) parent.firstChild = this
    else parent.lastChild.next = this
    parent.lastChild = this
    parent.childCount++
    this.root.liveCount++
  }

  /** Unlinks this node; doing it twice is harmless. */
  detach(): void {
    const parent = this.parent
    if (parent === undefined || !this.isAttached) return
    this.isAttached = false
    if (this.previous === undefined) parent.firstChild = this.next
    else this.previous.next = this.next
    if (this.next === undefined) parent.lastChild = this.previous
    else this.next.previous = this.previous
    this.previous = undefined
    this.next = undefined
    parent.childCount--
    this.root.liveCount--
  }
}

/** A tree of its own, for a test or an embedded program. */
export const makeRoot = (name: string, startedAtMillis: number): TaskNode =>
  new TaskNode("root", name, undefined, startedAtMillis)

/**
 * The task that the current fiber works for; fibers forked by plain Effect inherit it.
 *
 * @default the root of the process
 */
export const CurrentTask = Context.Reference<TaskNode>("sluice/services/tasks/CurrentTask", {
  // Made when the first task asks for it, when there is no fiber yet whose clock could be asked.
  defaultValue: () => makeRoot("process", Clock.Clock.defaultValue().currentTimeMillisUnsafe())
})
