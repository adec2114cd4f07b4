/** Random schedules on the in-memory queue and virtual time: whatever is enqueued ends once, in order where that is promised. */
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Layer, Schedule, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import { layerMemory } from "../../../../src/layers/jobs/MemoryJobQueue.ts"
import * as Worker from "../../../../src/layers/jobs/worker/Worker.ts"
import * as Job from "../../../../src/services/jobs/Job.ts"
import { JobAdmin } from "../../../../src/services/jobs/JobAdmin.ts"
import { JobDiscard, JobSnooze } from "../../../../src/services/jobs/JobError.ts"
import * as JobHandler from "../../../../src/services/jobs/JobHandler.ts"
import { JobQueue } from "../../../../src/services/jobs/JobQueue.ts"
import type { JobWorker } from "../../../../src/services/jobs/JobWorker.ts"

const Plan = Schema.Struct({
  n: Schema.Int,
  /** What its attempts do, one after the other; afterwards they succeed. */
  script: Schema.Array(Schema.Literals(["succeed", "fail", "die", "discard", "snooze", "hang", "slow"])).pipe(
    Schema.check(Schema.isMaxLength(4))
  ),
  key: Schema.NullOr(Schema.Literals(["a", "b"])),
  delayMillis: Schema.Literals([0, 0, 10, 3000]),
  priority: Schema.Literals([-5, 0, 5]),
  mode: Schema.Literals(["plain", "transactional", "batch"])
})
type Plan = typeof Plan.Type

const kindOf = (mode: Plan["mode"]) =>
  Job.make(`plan.${mode}`, {
    payload: Plan,
    success: Schema.Int,
    key: ({ key }) => key ?? undefined,
    retry: Schedule.spaced("1 second"),
    timeout: "2 seconds",
    maxAttempts: 3
  })
const kinds = { plain: kindOf("plain"), transactional: kindOf("transactional"), batch: kindOf("batch") }

const Event = Schema.Union([
  Schema.Struct({ _tag: Schema.Literal("enqueue"), plan: Plan }),
  Schema.Struct({ _tag: Schema.Literal("pass"), millis: Schema.Literals([1, 50, 700, 5000]) }),
  Schema.Struct({ _tag: Schema.Literal("cancel"), pick: Schema.Int }),
  /** A worker is drained and another begins. */
  Schema.Struct({ _tag: Schema.Literal("replace") }),
  Schema.Struct({ _tag: Schema.Literal("pause") }),
  Schema.Struct({ _tag: Schema.Literal("resume") })
])

class World {
  readonly starts: Array<{ readonly n: number; readonly key: string | null; readonly mode: string }> = []
  readonly succeeded = new Map<number, number>()
  readonly steps = new Map<number, number>()
  readonly running = new Map<string, number>()

  run(plan: Plan): Effect.Effect<number, unknown> {
    return Effect.suspend(() => {
      const step = this.steps.get(plan.n) ?? 0
      this.steps.set(plan.n, step + 1)
      const slot = `${plan.mode} ${plan.key}`
      const now = (this.running.get(slot) ?? 0) + 1
      this.running.set(slot, now)
      if (plan.key !== null) assert.strictEqual(now, 1, `two of key ${slot} at once`)
      this.starts.push({ n: plan.n, key: plan.key, mode: plan.mode })
      return Effect.ensuring(
        this.act(plan, plan.script[step] ?? "succeed"),
        Effect.sync(() => this.running.set(slot, (this.running.get(slot) ?? 1) - 1))
      )
    })
  }

  private act(plan: Plan, what: Plan["script"][number]): Effect.Effect<number, unknown> {
    switch (what) {
      case "succeed":
        return Effect.sync(() => {
          this.succeeded.set(plan.n, (this.succeeded.get(plan.n) ?? 0) + 1)
          return plan.n
        })
      case "slow":
        return Effect.delay(this.act(plan, "succeed"), 300)
      case "fail":
        return Effect.fail("no")
      case "die":
        return Effect.die("boom")
      case "discard":
        return Effect.fail(new JobDiscard({ detail: "pointless" }))
      case "snooze":
        return Effect.fail(new JobSnooze({ delayMillis: 100 }))
      default:
        return Effect.never
    }
  }
}

const workerOf = (world: World) =>
  Worker.layer([
    JobHandler.plain(kinds.plain, (plan) => world.run(plan)),
    JobHandler.transactional(kinds.transactional, (plan) => world.run(plan), { maxGroup: 1 }),
    JobHandler.batch(kinds.batch, (items) => Effect.forEach(items, ({ payload }) => world.run(payload)), { maxSize: 1 })
  ], { drainGrace: "200 millis", concurrency: 4 })

const begin = <E, R>(worker: Layer.Layer<JobWorker, E, R>) =>
  Effect.tap(Scope.make(), (scope) => Scope.provide(Layer.build(worker), scope))

/** Closes a worker: its drain waits on the clock, which somebody has to move. */
const stop = Effect.fnUntraced(function*(scope: Scope.Closeable) {
  const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
  while (closing.pollUnsafe() === undefined) yield* TestClock.adjust(50)
})

const scenario = Effect.fnUntraced(function*(events: ReadonlyArray<typeof Event.Type>) {
  const world = new World()
  const queue = yield* JobQueue
  const admin = yield* JobAdmin
  const ids: Array<Job.JobId> = []
  const cancelled = new Set<Job.JobId>()
  const start = begin(workerOf(world))
  let scope = yield* start
  for (const event of events) {
    if (event._tag === "enqueue") {
      const plan = { ...event.plan, n: ids.length }
      ids.push(
        yield* queue.enqueue(kinds[plan.mode], plan, { delay: plan.delayMillis, priority: plan.priority })
      )
    } else if (event._tag === "pass") yield* TestClock.adjust(event.millis)
    else if (event._tag === "pause") yield* Effect.forEach(Object.values(kinds), (kind) => admin.pause(kind.queue))
    else if (event._tag === "resume") yield* Effect.forEach(Object.values(kinds), (kind) => admin.resume(kind.queue))
    else if (event._tag === "replace") {
      yield* stop(scope)
      scope = yield* start
    } else {
      const id = ids[Math.abs(event.pick) % Math.max(1, ids.length)]
      if (id !== undefined && (yield* queue.cancel(id)) !== "finished") cancelled.add(id)
    }
  }
  yield* Effect.forEach(Object.values(kinds), (kind) => admin.resume(kind.queue))
  for (let i = 0; i < 200; i++) yield* TestClock.adjust(500)
  yield* stop(scope)
  return { world, ids, cancelled, stats: yield* admin.stats, jobs: (yield* admin.list({ limit: 1000 })).jobs }
})

it.effect.prop(
  "every job ends once, and keys keep their limit",
  { events: Schema.Array(Event).pipe(Schema.check(Schema.isMaxLength(30))) },
  ({ events }) =>
    Effect.gen(function*() {
      const { cancelled, ids, jobs, stats, world } = yield* scenario(events)
      assert.strictEqual(jobs.length, ids.length)
      for (const info of jobs) {
        const n = ids.indexOf(info.id)
        assert.include(["succeeded", "dead", "cancelled"], info.state, `${n}: ${JSON.stringify(info)}`)
        if (info.state === "cancelled") assert.isTrue(cancelled.has(info.id))
        if (info.state === "succeeded") assert.isAtLeast(world.succeeded.get(n) ?? 0, 1)
        // What succeeded is settled as such: it never runs again.
        assert.isAtMost(world.succeeded.get(n) ?? 0, 1)
        assert.isAtMost(info.attempt, info.maxAttempts)
      }
      const sum = (pick: (row: (typeof stats)[number]) => number) => stats.reduce((total, row) => total + pick(row), 0)
      const count = (state: Job.JobState) => jobs.filter((info) => info.state === state).length
      assert.deepStrictEqual(
        [sum((row) => row.succeeded), sum((row) => row.dead), sum((row) => row.cancelled)],
        [count("succeeded"), count("dead"), count("cancelled")]
      )
      assert.strictEqual(sum((row) => row.ready + row.scheduled + row.blocked + row.running), 0)
    }).pipe(Effect.provide(layerMemory)),
  { arbitrary: { runs: process.env["SLUICE_LONG"] === "1" ? 1000 : 60 } }
)

it.effect("a waiting job overtakes any priority in the end: nothing starves", () =>
  Effect.gen(function*() {
    const queue = yield* JobQueue
    const Low = Job.make("aging", { payload: Schema.String })
    const order: Array<string> = []
    yield* queue.enqueueMany(Low, ["high", "high"], { priority: 3 })
    yield* queue.enqueue(Low, "low")
    const scope = yield* begin(Worker.layer([
      JobHandler.plain(Low, (text) => Effect.delay(Effect.sync(() => order.push(text)), "1 second"))
    ], { concurrency: 1 }))
    // Two jobs of priority 3 a second, and about one of them is worked off: the backlog only grows.
    for (let second = 0; second < 600 && !order.includes("low"); second++) {
      yield* queue.enqueueMany(Low, ["high", "high"], { priority: 3 })
      yield* TestClock.adjust("1 second")
    }
    yield* stop(scope)
    assert.include(order, "low")
    // Priority 3 is a head start of three minutes.
    assert.isAtLeast(order.indexOf("low"), 150)
    assert.isAtMost(order.indexOf("low"), 500)
  }).pipe(Effect.provide(layerMemory)))
