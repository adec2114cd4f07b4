import { Clock, Context, Duration, Effect, Metric, Schema } from "effect"
import { duration } from "./InvalidOption.ts"
import { CurrentTask, render, type TaskNode } from "./TaskNode.ts"

/** Something that was there after the work and not before it. */
export class LeakFound extends Schema.TaggedError<LeakFound>()("LeakFound", {
  leaks: Schema.Array(Schema.Struct({ kind: Schema.String, before: Schema.Finite, after: Schema.Finite })),
  /** The first of the tasks of the live tree that did not end. */
  tasks: Schema.Array(Schema.String)
}) {
  override get message(): string {
    const counts = this.leaks.map((leak) => `${leak.kind}: ${leak.before} -> ${leak.after}`).join(", ")
    return this.tasks.length === 0 ? `leaked ${counts}` : `leaked ${counts} (tasks: ${this.tasks.join(", ")})`
  }
}

/** Counts by kind: "sockets", "timers", ... */
export type Counts = Readonly<Record<string, number>>

/** What `check` counts beside fibers and tasks. `NodeLeaks` counts what Node keeps open. */
export interface Options {
  /** Counted before and after; a kind that is larger afterwards is a leak. */
  readonly count?: Effect.Effect<Counts> | undefined
  /**
   * How long, in real time, what is closing may take to be gone.
   *
   * @default "2 seconds"
   */
  readonly settle?: Duration.Input | undefined
}

const namesMax = 10
const pollMillis = 5

/**
 * Runs the effect and fails with `LeakFound` when a fiber, a task or anything counted outlives it. Fibers that a layer
 * started before are not counted; an effect that fails keeps its failure.
 */
export const check =
  (options?: Options) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | LeakFound, R> =>
    Effect.gen(function*() {
      const settleMillis = Duration.toMillis(duration("Leaks settle", options?.settle ?? "2 seconds"))
      const node = yield* CurrentTask
      let fibers = 0
      const counter: Metric.FiberRuntimeMetricsService = {
        recordFiberStart: () => {
          fibers++
        },
        recordFiberEnd: () => {
          fibers--
        }
      }
      const count = Effect.map(options?.count ?? Effect.succeed<Counts>({}), (counts): Counts => ({
        ...counts,
        fibers,
        tasks: node.root.liveCount
      }))
      const before = yield* Effect.andThen(Effect.yieldNow, count)
      const result = yield* Effect.provideService(self, Metric.FiberRuntimeMetrics, counter)
      yield* settled(before, count, settleMillis, node)
      return result
    })

const settled = Effect.fnUntraced(function*(
  before: Counts,
  count: Effect.Effect<Counts>,
  settleMillis: number,
  node: TaskNode
) {
  // The real clock, also under a TestClock: the operating system closes sockets in its own time.
  const clock = Context.get(Context.empty(), Clock.Clock)
  const endMillis = clock.currentTimeMillisUnsafe() + settleMillis
  yield* Effect.yieldNow
  while (true) {
    const leaks = difference(before, yield* count)
    if (leaks.length === 0) return undefined
    if (clock.currentTimeMillisUnsafe() >= endMillis) {
      return yield* new LeakFound({ leaks, tasks: namesBelow(node.root) })
    }
    // While a timer's callback runs, Node still counts the timer: what is counted is counted outside of one.
    yield* Effect.andThen(clock.sleep(Duration.millis(pollMillis)), Effect.yieldNow)
  }
})

const difference = (before: Counts, after: Counts) =>
  Object.entries(after).flatMap(([kind, value]) => {
    const was = before[kind] ?? 0
    return value > was ? [{ kind, before: was, after: value }] : []
  })

const namesBelow = (root: TaskNode): Array<string> => {
  const names: Array<string> = []
  const stack = [root.firstChild]
  while (stack.length > 0 && names.length < namesMax) {
    const node = stack.pop()
    if (node === undefined) continue
    names.push(render(node.label))
    stack.push(node.next, node.firstChild)
  }
  return names
}
