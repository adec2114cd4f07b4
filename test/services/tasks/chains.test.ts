/**
 * Chains of tens of thousands (100,000 in a long run) and nests of thousands that run synchronously: the stack holds
 * some 1,200 of them.
 */
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import * as Deadline from "../../../src/services/tasks/Deadline.ts"
import * as FairSemaphore from "../../../src/services/tasks/FairSemaphore.ts"
import * as FanOut from "../../../src/services/tasks/FanOut.ts"
import * as TaskGroup from "../../../src/services/tasks/TaskGroup.ts"
import * as Tasks from "../../../src/services/tasks/Tasks.ts"
import * as WorkQueue from "../../../src/services/tasks/WorkQueue.ts"
import { leakFree } from "../../support/leakFree.ts"

const isLong = process.env["SLUICE_LONG"] === "1"
const depth = isLong ? 100_000 : 20_000
/** A nest holds all its levels at once. */
const nestDepth = isLong ? 20_000 : 3_000

type Group = TaskGroup.TaskGroup<TaskGroup.GroupClosed | TaskGroup.TaskNotReady>
const inGroup = (body: (group: Group) => Effect.Effect<unknown, TaskGroup.GroupClosed | TaskGroup.TaskNotReady>) =>
  TaskGroup.use<TaskGroup.GroupClosed | TaskGroup.TaskNotReady>()(body)

/** Each gives how many levels had begun. */
const chains: ReadonlyArray<readonly [name: string, run: Effect.Effect<number, unknown>]> = [
  [
    "a task spawns the next one",
    Effect.suspend(() => {
      let count = 0
      const next = (group: Group): Effect.Effect<void, TaskGroup.GroupClosed> =>
        Effect.suspend(() => ++count < depth ? Effect.asVoid(group.spawn(next(group))) : Effect.void)
      return Effect.map(inGroup(next), () => count)
    })
  ],
  [
    "a task spawns the next one and joins it",
    Effect.suspend(() => {
      let count = 0
      const next = (group: Group): Effect.Effect<void, TaskGroup.GroupClosed> =>
        Effect.suspend(() =>
          ++count < depth ? Effect.flatMap(group.spawn(next(group)), (task) => task.join) : Effect.void
        )
      return Effect.map(inGroup(next), () => count)
    })
  ],
  [
    "a task starts the next one, which is ready when its own next one is",
    Effect.suspend(() => {
      let count = 0
      const next = (group: Group) =>
      (ready: (value: number) => Effect.Effect<void>): Effect.Effect<
        void,
        TaskGroup.GroupClosed | TaskGroup.TaskNotReady
      > =>
        Effect.suspend(() =>
          ++count < depth ? Effect.flatMap(group.start(next(group)), ({ value }) => ready(value)) : ready(1)
        )
      return Effect.map(inGroup((group) => group.start(next(group))), () => count)
    })
  ],
  [
    "a task that wakes up spawns the next one and joins it",
    Effect.gen(function*() {
      let count = 0
      const gate = yield* Deferred.make<void>()
      const next = (group: Group): Effect.Effect<void, TaskGroup.GroupClosed> =>
        Effect.suspend(() =>
          ++count < depth
            ? Effect.andThen(
              count === 1 ? Deferred.await(gate) : Effect.void,
              Effect.flatMap(group.spawn(next(group)), (task) => task.join)
            )
            : Effect.void
        )
      yield* FanOut.all([inGroup(next), Effect.andThen(Effect.yieldNow, Deferred.succeed(gate, undefined))])
      return count
    })
  ],
  [
    "a task cancels the next one in its cleanup",
    Effect.suspend(() => {
      let count = 0
      const body = (group: Group) =>
        Effect.gen(function*() {
          let last = yield* group.spawn(Effect.onInterrupt(Effect.never, () => Effect.sync(() => void count++)))
          for (let i = 1; i < depth; i++) {
            const before = last
            last = yield* group.spawn(
              Effect.onInterrupt(Effect.never, () => Effect.andThen(Effect.sync(() => void count++), before.cancel))
            )
          }
          yield* last.cancel
        })
      return Effect.map(inGroup(body), () => count)
    })
  ],
  [
    "a task joins the one before, and the first one ends",
    Effect.suspend(() => {
      let count = 0
      const body = (group: Group) =>
        Effect.gen(function*() {
          const gate = yield* Deferred.make<void>()
          let last = yield* group.spawn(Deferred.await(gate))
          for (let i = 1; i <= depth; i++) {
            const before = last
            last = yield* group.spawn(Effect.andThen(before.join, Effect.sync(() => void count++)))
          }
          yield* Deferred.succeed(gate, undefined)
          yield* last.join
        })
      return Effect.map(inGroup(body), () => count)
    })
  ],
  [
    "a permit is handed from one to the next",
    Effect.gen(function*() {
      const semaphore = yield* FairSemaphore.make(1)
      let count = 0
      yield* FanOut.all(Array.from({ length: depth }, () => semaphore.withPermit(Effect.sync(() => void count++))))
      return count
    })
  ],
  [
    "an item makes the next one",
    Effect.gen(function*() {
      const queue = yield* WorkQueue.make<number>(1)
      let count = 0
      yield* queue.offer(1)
      yield* WorkQueue.consume(queue, (n) =>
        Effect.suspend(() => {
          count++
          return n < depth ? Effect.orDie(queue.offer(n + 1)) : queue.shutdown
        }), { concurrency: 2 })
      return count
    })
  ]
]

for (const [name, run] of chains) {
  it.effect(`${depth} times: ${name}`, () =>
    leakFree(Effect.gen(function*() {
      assert.strictEqual(yield* run, depth)
      assert.strictEqual(yield* Tasks.liveCount, 0)
    })))
}

type Nest = (core: Effect.Effect<unknown, unknown>) => Effect.Effect<unknown, unknown>
const nests: ReadonlyArray<readonly [name: string, level: Nest]> = [
  ["TaskGroup.use", (core) => TaskGroup.use()(() => Effect.orDie(core))],
  ["TaskGroup with a grace", (core) => TaskGroup.use({ grace: "1 hour" })(() => Effect.orDie(core))],
  [
    "a task of a group",
    (core) =>
      TaskGroup.use<TaskGroup.GroupClosed>()((group) =>
        Effect.flatMap(group.spawn(Effect.orDie(core)), (task) => task.join)
      )
  ],
  ["FanOut.all", (core) => Effect.map(FanOut.all([core]), ([value]) => value)],
  ["Deadline.within", (core) => Deadline.within("1 hour")(core)],
  ["Deadline with a grace", (core) => Deadline.within("1 hour", { grace: "1 hour" })(core)],
  ["Tasks.named", (core) => Tasks.named("level")(core)],
  [
    "a group in a deadline in a name",
    (core) => Tasks.named("level")(Deadline.within("1 hour")(Effect.map(FanOut.all([core]), ([value]) => value)))
  ]
]

for (const [name, level] of nests) {
  it.effect(`${nestDepth} deep: ${name} starts, ends and is interrupted`, () =>
    leakFree(Effect.gen(function*() {
      const nest = (depth: number, core: Effect.Effect<unknown>): Effect.Effect<unknown, unknown> =>
        depth === 0 ? core : level(Effect.suspend(() => nest(depth - 1, core)))
      assert.strictEqual(yield* nest(nestDepth, Effect.succeed("the core")), "the core")
      const arrived = yield* Deferred.make<void>()
      const core = Effect.andThen(Deferred.succeed(arrived, undefined), Effect.never)
      const fiber = yield* Effect.forkChild(nest(nestDepth, core))
      yield* Deferred.await(arrived)
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(yield* Tasks.liveCount, 0)
    })))
}
