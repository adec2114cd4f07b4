/** Who cancels can be cancelled too, at any of its operations: what it began to cancel must end all the same. */
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber } from "effect"
import * as Scheduler from "effect/Scheduler"
import * as Deadline from "../../../src/services/tasks/Deadline.ts"
import * as FanOut from "../../../src/services/tasks/FanOut.ts"
import * as Shutdown from "../../../src/services/tasks/Shutdown.ts"
import * as TaskGroup from "../../../src/services/tasks/TaskGroup.ts"
import * as Tasks from "../../../src/services/tasks/Tasks.ts"
import { leakFree } from "../../support/leakFree.ts"
import { sweep } from "../../support/sweep.ts"

/** Counts what is open, also while its cleanup takes a turn. */
const counter = () => {
  let open = 0
  return {
    open: () => open,
    use: Effect.acquireUseRelease(
      Effect.sync(() => open++),
      () => Effect.never,
      () => Effect.andThen(Effect.yieldNow, Effect.sync(() => open--))
    )
  }
}

/** Fails, and does not hang, when the fiber is not interrupted by what was asked before. */
const ends = (fiber: Fiber.Fiber<unknown, unknown>, at: string) =>
  Effect.gen(function*() {
    for (let turn = 0; turn < 500 && fiber.pollUnsafe() === undefined; turn++) yield* Effect.yieldNow
    assert.isDefined(fiber.pollUnsafe(), `hangs: ${at}`)
  })

const sweeps = <E>(name: string, effect: Effect.Effect<number, E>) =>
  it.effect(`a canceller that is interrupted at any operation: ${name}`, () =>
    leakFree(Effect.map(effect, (hits) => {
      assert.isAbove(hits, 20)
    })))

interface Target {
  readonly group: TaskGroup.TaskGroup
  readonly task: TaskGroup.Task<never>
  readonly groupId: number
  readonly owner: Fiber.Fiber<unknown, unknown>
}

const ways: ReadonlyArray<readonly [name: string, cancel: (target: Target) => Effect.Effect<unknown>]> = [
  ["Task.cancel", ({ task }) => task.cancel],
  ["Task.cancel, twice at once", ({ task }) => FanOut.all([task.cancel, task.cancel])],
  ["TaskGroup.cancel", ({ group }) => group.cancel],
  ["Tasks.cancel of a task", ({ task }) => Tasks.cancel(task.id)],
  ["Tasks.cancel of a group", ({ groupId }) => Tasks.cancel(groupId)],
  ["Fiber.interrupt of the owner", ({ owner }) => Fiber.interrupt(owner)],
  ["a deadline over Task.cancel", ({ task }) => Effect.ignore(Deadline.within("1 hour")(task.cancel))]
]

/** A canceller, a canceller of that, and a canceller of that one: all but the last are cancelled while they cancel. */
const chains: ReadonlyArray<readonly [name: string, wrap: (cancel: Effect.Effect<unknown>) => Effect.Effect<unknown>]> =
  [
    ["", (cancel) => cancel],
    [", by a canceller that is cancelled", (cancel) => Effect.flatMap(Effect.forkChild(cancel), Fiber.interrupt)],
    [
      ", by a canceller whose canceller is cancelled",
      (cancel) =>
        Effect.flatMap(
          Effect.forkChild(Effect.flatMap(Effect.forkChild(cancel, { startImmediately: true }), Fiber.interrupt)),
          Fiber.interrupt
        )
    ]
  ]

for (const [way, cancel] of ways) {
  for (const [chain, wrap] of chains) {
    sweeps(
      `${way}${chain}`,
      sweep(
        Effect.gen(function*() {
          const { open, use: child } = counter()
          const ready = yield* Deferred.make<Omit<Target, "owner">>()
          const work = TaskGroup.use()((group) =>
            Effect.gen(function*() {
              const task = yield* Effect.orDie(group.spawn(child))
              yield* Effect.orDie(group.spawn(child))
              const { tasks } = yield* Tasks.snapshot({ scope: "current" })
              yield* Deferred.succeed(ready, { group, task, groupId: tasks[0]?.id ?? -1 })
              return yield* Effect.never
            })
          )
          const owner = yield* Effect.forkDetach(work, { startImmediately: true })
          const target = { ...(yield* Deferred.await(ready)), owner }
          return {
            victim: Effect.andThen(wrap(cancel(target)), Effect.never),
            check: (at) =>
              Effect.gen(function*() {
                owner.interruptUnsafe()
                yield* ends(owner, at)
                assert.strictEqual(open(), 0, at)
                assert.strictEqual(yield* Tasks.liveCount, 0, at)
              })
          }
        }),
        { budgets: 12, turns: 12 }
      )
    )
  }
}

sweeps(
  "Task.cancel in the body of its own group",
  sweep(Effect.sync(() => {
    const { open, use: child } = counter()
    return {
      victim: TaskGroup.use()((group) =>
        Effect.gen(function*() {
          const task = yield* Effect.orDie(group.spawn(child))
          for (let i = 0; i < 8; i++) yield* Effect.void
          yield* task.cancel
          return yield* Effect.never
        })
      ),
      check: (at) => Effect.sync(() => assert.strictEqual(open(), 0, at))
    }
  }))
)

it.effect("a cancel in the body is not lost at any length of what comes before it, with the budget that programs have", () =>
  leakFree(Effect.gen(function*() {
    // Default budget 2048: the body is interrupted at the yield that falls between the operations of the cancel.
    for (let length = 2000; length < 2064; length++) {
      const group = TaskGroup.use()((group) =>
        Effect.gen(function*() {
          const task = yield* Effect.orDie(group.spawn(Effect.never))
          for (let i = 0; i < length; i++) yield* Effect.sync(() => {})
          yield* task.cancel
        })
      )
      const fiber = yield* Effect.forkDetach(group, { startImmediately: true })
      fiber.interruptUnsafe()
      yield* ends(fiber, `length ${length}`)
    }
  })))

sweeps(
  "Shutdown.drain by its first caller: it goes on, and later callers get its end",
  sweep(Effect.gen(function*() {
    const shutdown = yield* Shutdown.make
    let drained = 0
    const step = Effect.andThen(Effect.yieldNow, Effect.sync(() => void drained++))
    yield* shutdown.onDrain("a", step)
    return {
      victim: Effect.andThen(shutdown.drain("request", "1 hour"), Effect.never),
      check: (at) =>
        Effect.gen(function*() {
          const later = yield* Effect.forkChild(shutdown.drain("SIGTERM", "1 hour"))
          yield* ends(later, at)
          const exit = later.pollUnsafe()
          assert.isTrue(exit !== undefined && Exit.isSuccess(exit), at)
          assert.strictEqual(drained, 1, at)
        })
    }
  })).pipe(Effect.scoped)
)

sweeps(
  "Deadline.use that is moved and lifted by another fiber",
  sweep(Effect.sync(() => {
    const { open, use } = counter()
    return {
      victim: Deadline.use("1 hour", (deadline) =>
        Effect.gen(function*() {
          const mover = yield* Effect.forkChild(Effect.andThen(deadline.move("2 hours"), deadline.lift))
          yield* Fiber.interrupt(mover)
          return yield* use
        })),
      check: (at) => Effect.sync(() => assert.strictEqual(open(), 0, at))
    }
  }))
)

it.effect("an interruption is delivered to a task whatever the budget of its canceller", () =>
  leakFree(Effect.gen(function*() {
    for (let budget = 3; budget < 40; budget++) {
      const exit = yield* TaskGroup.use()((group) =>
        Effect.gen(function*() {
          const task = yield* group.spawn(Effect.never)
          const cancel = Effect.provideService(task.cancel, Scheduler.MaxOpsBeforeYield, budget)
          const canceller = yield* Effect.forkChild(cancel, { startImmediately: true })
          canceller.interruptUnsafe()
          yield* Fiber.await(canceller)
          const { tasks } = yield* Tasks.snapshot()
          // Marked means interrupted: who sees "cancelling" need not cancel again.
          if (tasks.some(({ state }) => state === "cancelling")) return yield* task.await
          yield* task.cancel
          return yield* task.await
        })
      )
      assert.isTrue(Exit.isFailure(exit))
    }
  })))
