import { Clock, Context, Duration, Effect, Fiber, Schema } from "effect"
import { limit, timeLeft } from "./InvalidOption.ts"
import { CurrentTask, type Kind, type Label, makeRoot, render, TaskNode } from "./TaskNode.ts"

/** What a task is doing: `cancelling` has been interrupted and cleans up, `overstaying` was left behind after its grace. */
export const State = Schema.Literals(["running", "waiting", "cancelling", "overstaying"])

/** One line of the live tree. Parents come before their children; `depth` counts from the first line. */
export class TaskInfo extends Schema.Class<TaskInfo>("sluice/TaskInfo")({
  id: Schema.Int,
  parentId: Schema.NullOr(Schema.Int),
  depth: Schema.Int,
  kind: Schema.Literals(["root", "task", "group"]),
  name: Schema.String,
  state: State,
  ageMillis: Schema.Finite,
  /** At most eight of the things the task waits for, such as "permit of host example.org". */
  waitingOn: Schema.Array(Schema.String)
}) {}

/** The live tree at one moment, cut at `maxTasks`. */
export class TaskTree extends Schema.Class<TaskTree>("sluice/TaskTree")({
  tasks: Schema.Array(TaskInfo),
  /** How many tasks live, listed or not. */
  total: Schema.Int,
  omitted: Schema.Int
}) {}

const waitsMax = 8

/** The name of the task that the current fiber works for. */
export const currentName: Effect.Effect<string> = Effect.map(CurrentTask, (node) => render(node.label))

/** How many tasks and groups live now in the current tree. */
export const liveCount: Effect.Effect<number> = Effect.map(CurrentTask, (node) => node.root.liveCount)

const infoOf = (node: TaskNode, depth: number, nowMillis: number): TaskInfo => {
  const waitingOn: Array<string> = []
  for (const wait of node.waits ?? []) {
    if (waitingOn.length === waitsMax) break
    waitingOn.push(render(wait.what))
  }
  const state = node.isOverstaying
    ? "overstaying"
    : node.isCancelling
    ? "cancelling"
    : waitingOn.length > 0
    ? "waiting"
    : "running"
  return new TaskInfo({
    id: node.id,
    parentId: depth === 0 ? null : node.parent?.id ?? null,
    depth,
    kind: node.kind satisfies Kind,
    name: render(node.label),
    state,
    ageMillis: Math.max(0, nowMillis - node.startedAtMillis),
    waitingOn
  })
}

const walk = (from: TaskNode, maxTasks: number, nowMillis: number): TaskTree => {
  const tasks: Array<TaskInfo> = []
  // A stack of our own: a tree may be ten thousand levels deep.
  const stack: Array<TaskNode> = [from]
  let node = stack.pop()
  while (node !== undefined && tasks.length < maxTasks) {
    tasks.push(infoOf(node, node.depth - from.depth, nowMillis))
    if (node !== from && node.next !== undefined) stack.push(node.next)
    if (node.firstChild !== undefined) stack.push(node.firstChild)
    node = stack.pop()
  }
  const total = from === from.root ? from.liveCount + 1 : tasks.length
  return new TaskTree({ tasks, total, omitted: Math.max(0, total - tasks.length) })
}

/**
 * The live tree of the whole process, or of the current task and what is below it.
 *
 * @default maxTasks 10_000, scope "process"
 */
export const snapshot = (options?: {
  readonly maxTasks?: number | undefined
  readonly scope?: "process" | "current" | undefined
}): Effect.Effect<TaskTree> =>
  Effect.withFiber((fiber) => {
    const node = fiber.getRef(CurrentTask)
    return Effect.succeed(
      walk(
        options?.scope === "current" ? node : node.root,
        limit("Tasks.snapshot maxTasks", options?.maxTasks ?? 10_000, 0),
        fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()
      )
    )
  })

/** Renders a tree as indented lines: `fetch https://example.org  12s  waiting: permit of host example.org`. */
export const format = (tree: TaskTree): string => {
  const lines = tree.tasks.map((task) => {
    const age = task.kind === "root" ? "" : `  ${Duration.format(Duration.millis(Math.round(task.ageMillis)))}`
    const waiting = task.waitingOn.length > 0 ? `  waiting: ${task.waitingOn.join(", ")}` : ""
    const state = task.state === "running" || task.state === "waiting" ? "" : `  ${task.state}`
    // The indent stops growing, so that a deep tree stays readable (and its dump small).
    return `${"  ".repeat(Math.min(task.depth, 32))}${task.name}${age}${state}${waiting}`
  })
  if (tree.omitted > 0) lines.push(`... and ${tree.omitted} more`)
  return lines.join("\n")
}

/** The live tree as text: what SIGUSR2 prints. */
export const dump: Effect.Effect<string> = Effect.map(snapshot(), format)

/** Gives the effect a tree of its own, whose root has this name: what runs inside is not seen from outside. */
export const isolated = (name: string) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) => Effect.provideService(self, CurrentTask, makeRoot(name, now)))

/** Runs an effect as a named task of the live tree, in the fiber that it is in. */
export const named = (name: Label) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    let leave: (() => void) | undefined
    // It enters inside of what leaves: an interruption may come between any two steps. The context is changed in place,
    // as Effect.scoped does it, because this runs once for each request.
    const entered = Effect.withFiber<A, E, R>((fiber) => {
      const context = fiber.context
      const now = fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()
      const node = new TaskNode("task", name, fiber.getRef(CurrentTask), now)
      node.attach()
      node.host = fiber
      fiber.setContext(Context.add(context, CurrentTask, node))
      leave = () => {
        node.detach()
        fiber.setContext(context)
      }
      return self
    })
    return Effect.onExit(entered, () => {
      leave?.()
      return Effect.void
    })
  })

/** Shows, while the effect runs, what the current task waits for: `Tasks.waiting("permit of host example.org")`. */
export const waiting = (what: Label) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const wait = { what }
    let waits: Set<{ readonly what: Label }> | undefined
    const shown = Effect.withFiber<A, E, R>((fiber) => {
      const node = fiber.getRef(CurrentTask)
      waits = node.waits ??= new Set()
      waits.add(wait)
      return self
    })
    return Effect.onExit(shown, () => {
      waits?.delete(wait)
      return Effect.void
    })
  })

/** Sleeps as a visible wait: "backoff 3.2s". */
export const backoff = (duration: Duration.Input): Effect.Effect<void> =>
  Effect.suspend(() => {
    const time = timeLeft("Tasks.backoff duration", duration)
    return waiting(() => `backoff ${Duration.format(time)}`)(Effect.sleep(time))
  })

/**
 * Cancels the task or the group with this id (see `TaskInfo.id`) and waits for its cleanup; `false` when there is none, or
 * when it is the caller itself. Named work runs in the fiber of its caller, which is cancelled with it; who opened a group
 * that is cancelled goes on as interrupted.
 */
export const cancel = (id: number): Effect.Effect<boolean> =>
  Effect.withFiber((fiber) => {
    const node = find(fiber.getRef(CurrentTask).root, id)
    if (node?.group !== undefined) return Effect.as(node.group.cancelled, true)
    const runner = node?.fiber ?? node?.host
    if (node === undefined || runner === undefined || runner === fiber) return Effect.succeed(false)
    node.interrupt(runner)
    return Effect.as(Fiber.await(runner), true)
  })

const find = (root: TaskNode, id: number): TaskNode | undefined => {
  const stack: Array<TaskNode> = [root]
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    if (node.id === id) return node
    if (node.next !== undefined) stack.push(node.next)
    if (node.firstChild !== undefined) stack.push(node.firstChild)
  }
  return undefined
}
