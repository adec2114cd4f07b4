/** Defects, of the store and of what users write: none of them leaves a worker that sits idle for ever. */
import { assert, it } from "@effect/vitest"
import { Cause, Deferred, Effect, Exit, Layer, Logger, Queue, Schedule, Schema } from "effect"
import { layerMemory } from "../../../../src/layers/jobs/MemoryJobQueue.ts"
import * as Worker from "../../../../src/layers/jobs/worker/Worker.ts"
import * as Job from "../../../../src/services/jobs/Job.ts"
import * as JobHandler from "../../../../src/services/jobs/JobHandler.ts"
import { JobQueue } from "../../../../src/services/jobs/JobQueue.ts"
import { JobStore } from "../../../../src/services/jobs/JobStore.ts"
import { JobWorker } from "../../../../src/services/jobs/JobWorker.ts"
import * as Tasks from "../../../../src/services/tasks/Tasks.ts"
import { eventually } from "../../../support/eventually.ts"

const Add = Job.make("defects.add", { payload: Schema.Int, success: Schema.Int })
const handler = JobHandler.plain(Add, (n) => Effect.succeed(n + 1))
const options = { poll: "20 millis", beat: "20 millis", lease: "500 millis" } as const

type Store = JobStore["Service"]

/** What is broken, and how: the store and the defect that it shall die of, so often as the defect says. */
const breakages: Record<string, (store: Store, once: <A>(ok: A) => A) => Partial<Store>> = {
  "the claim loop, by an answer that is none": (store, once) => ({
    claim: (worker, nth, queues) =>
      Effect.map(
        store.claim(worker, nth, queues),
        (jobs) => new Proxy(jobs, { get: (target, key) => once(target[key as never]) })
      )
  }),
  "the claim loop, by its announcement": (store, once) => ({
    join: (joining) =>
      Effect.map(store.join(joining), (member) => ({
        ...member,
        idle: (idle) => Effect.andThen(Effect.sync(() => once(undefined)), member.idle(idle))
      }))
  }),
  "the settler": (store, once) => ({
    settle: (worker, settlements) =>
      Effect.andThen(Effect.sync(() => once(undefined)), store.settle(worker, settlements))
  }),
  "joining anew": (store, once) => {
    let joins = 0
    return {
      join: (joining) =>
        joins++ === 0
          ? Effect.map(store.join(joining), (member) => ({ ...member, idle: () => Effect.sync(() => once(undefined)) }))
          : Effect.andThen(Effect.sync(() => once(undefined)), store.join(joining))
    }
  }
}

for (const [what, breakage] of Object.entries(breakages)) {
  it.live(`${what}: the worker begins anew, and says of what it died`, () =>
    Effect.gen(function*() {
      const queue = yield* JobQueue
      const store = yield* JobStore
      const logged: Array<string> = []
      const logger = Logger.make(({ cause, message }) => void logged.push(`${String(message)} ${Cause.pretty(cause)}`))
      const isSpent = yield* Deferred.make<void>()
      let left = 3
      const broken = breakage(store, (ok) => {
        if (left === 0) return ok
        if (left === 1) Deferred.doneUnsafe(isSpent, Exit.void)
        throw new Error(`broken ${left--}`)
      })
      const worker = Layer.provide(
        Worker.layer([handler], options),
        Layer.succeed(JobStore, { ...store, ...broken })
      )
      const program = Effect.gen(function*() {
        const before = yield* queue.enqueue(Add, 1)
        yield* Deferred.await(isSpent)
        const after = yield* queue.enqueue(Add, 2)
        return yield* Effect.forEach([before, after], queue.ended)
      })
      const infos = yield* Effect.provide(program, Layer.provide(worker, Logger.layer([logger])))
      assert.deepStrictEqual(infos.map(({ result, state }) => [state, result]), [["succeeded", 2], ["succeeded", 3]])
      for (const n of [3, 2, 1]) {
        assert.isTrue(
          logged.some((line) => line.includes(`broken ${n}`) && line.includes("restarting")),
          logged.join("\n")
        )
      }
    }).pipe(Effect.provide(layerMemory)), 5_000)
}

it.live("a first session that cannot begin is the layer's defect", () =>
  Effect.gen(function*() {
    const store = yield* JobStore
    const worker = Worker.layer([handler], options)
    const broken = Layer.succeed(JobStore, { ...store, join: () => Effect.die("no fleet") })
    const exit = yield* Effect.exit(Effect.scoped(Layer.build(Layer.provide(worker, broken))))
    assert.isTrue(Exit.isFailure(exit) && Cause.squash(exit.cause) === "no fleet")
  }).pipe(Effect.provide(layerMemory)))

it.live("whoever cancels a task of the engine gets a new one, not a worker without it", () =>
  Effect.gen(function*() {
    const queue = yield* JobQueue
    const program = Effect.gen(function*() {
      for (const name of ["claimer", "settler", "heartbeat", "signals"]) {
        // Between two sessions there is none for a moment.
        const task = Effect.map(Tasks.snapshot(), ({ tasks }) => tasks.find((task) => task.name === name)?.id ?? -1)
        yield* eventually(Effect.flatMap(task, Tasks.cancel), (isDone) => isDone)
        const info = yield* Effect.flatMap(queue.enqueue(Add, 1), queue.ended)
        assert.strictEqual(info.state, "succeeded", name)
      }
    })
    yield* Tasks.isolated("test")(Effect.provide(program, Worker.layer([handler], options)))
  }).pipe(Effect.provide(layerMemory)))

it.live("drains at once between two sessions", () =>
  Effect.gen(function*() {
    const store = yield* JobStore
    const dead = yield* Deferred.make<void>()
    let joins = 0
    const broken = JobStore.of({
      ...store,
      join: (joining) =>
        joins++ > 0
          ? Effect.andThen(Deferred.succeed(dead, undefined), Effect.never)
          : Effect.map(store.join(joining), (member) => ({ ...member, idle: () => Effect.die("broken") }))
    })
    yield* Effect.provide(
      Effect.gen(function*() {
        const worker = yield* JobWorker
        yield* Deferred.await(dead)
        yield* worker.drain
        assert.isTrue((yield* worker.status).draining)
      }),
      Layer.provide(Worker.layer([handler], options), Layer.succeed(JobStore, broken))
    )
  }).pipe(Effect.provide(layerMemory)), 5_000)

for (const mode of ["plain", "transactional", "batch"] as const) {
  it.live(
    `a ${mode} handler that throws, and a retry schedule that does, cost their own job and nothing else`,
    () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const store = yield* JobStore
        const ended = yield* Queue.unbounded<number>()
        const Bad = Job.make(`defects.${mode}`, {
          payload: Schema.Int,
          maxAttempts: 2,
          retry: Schedule.addDelay(Schedule.forever, () => Effect.die("no schedule"))
        })
        const act = (n: number) => {
          if (n === 13) throw new Error("thrown, not failed")
          return Queue.offer(ended, n)
        }
        const handlers = {
          plain: () => JobHandler.plain(Bad, act),
          transactional: () => JobHandler.transactional(Bad, act),
          batch: () =>
            JobHandler.batch(Bad, (items) => Effect.asVoid(Effect.all(items.map(({ payload }) => act(payload)))))
        }
        let joins = 0
        const counted = JobStore.of({
          ...store,
          join: (joining) => Effect.suspend(() => (joins++, store.join(joining)))
        })
        const ids = yield* queue.enqueueMany(Bad, [12, 13, 14])
        yield* Effect.provide(
          Effect.gen(function*() {
            for (const left = new Set([12, 14]); left.size > 0;) left.delete(yield* Queue.take(ended))
            yield* (yield* JobWorker).idle
          }),
          Layer.provide(Worker.layer([handlers[mode]()], options), Layer.succeed(JobStore, counted))
        )
        const infos = yield* Effect.forEach(ids, queue.find)
        assert.deepStrictEqual(infos.map((info) => info._tag === "Some" ? info.value.state : "gone"), [
          "succeeded",
          "scheduled",
          "succeeded"
        ])
        assert.strictEqual(joins, 1)
      }).pipe(Effect.provide(layerMemory)),
    5_000
  )
}
