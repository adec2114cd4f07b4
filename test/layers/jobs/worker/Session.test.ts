/**
 * What a worker does at its edges, on virtual time: timeouts to the millisecond, a drain that waits for no tick, room
 * for a queue that was left out.
 */
import { assert, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, Layer, Queue, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import { layerMemory } from "../../../../src/layers/jobs/MemoryJobQueue.ts"
import * as Worker from "../../../../src/layers/jobs/worker/Worker.ts"
import * as Job from "../../../../src/services/jobs/Job.ts"
import { JobQueueError } from "../../../../src/services/jobs/JobError.ts"
import { JobLeaseLost } from "../../../../src/services/jobs/JobError.ts"
import type { Handler } from "../../../../src/services/jobs/JobHandler.ts"
import * as JobHandler from "../../../../src/services/jobs/JobHandler.ts"
import { JobQueue } from "../../../../src/services/jobs/JobQueue.ts"
import { JobStore, type Signal } from "../../../../src/services/jobs/JobStore.ts"
import { JobWorker, type WorkerOptions } from "../../../../src/services/jobs/JobWorker.ts"

type Store = JobStore["Service"]

/** Starts a worker on the memory store, changed like this. */
const start = <const H extends ReadonlyArray<Handler<never>>>(
  handlers: H,
  options: WorkerOptions,
  change: (store: Store) => Partial<Store> = () => ({})
) =>
  Effect.gen(function*() {
    const store = yield* JobStore
    const scope = yield* Scope.make()
    const layer = Layer.provide(
      Worker.layer(handlers, options),
      Layer.succeed(JobStore, { ...store, ...change(store) })
    )
    const context = yield* Scope.provide(Layer.build(layer), scope)
    return { worker: Context.get(context, JobWorker), close: Scope.close(scope, Exit.void) }
  })

const Endless = Job.make("session.endless", { payload: Schema.Int, timeout: "250 millis", maxAttempts: 1 })
const Short = Job.make("session.short", { payload: Schema.Int, timeout: "37 millis", maxAttempts: 1 })
const Other = Job.make("session.other", { payload: Schema.Int })

it.effect("an attempt is interrupted when its time is over, to the millisecond, however others are timed", () =>
  Effect.gen(function*() {
    const queue = yield* JobQueue
    const clock = yield* TestClock.testClockWith(Effect.succeed)
    const ends = yield* Queue.unbounded<readonly [kind: string, atMillis: number]>()
    const handlerOf = (kind: typeof Endless | typeof Short) =>
      JobHandler.plain(
        kind,
        () => Effect.onInterrupt(Effect.never, () => Queue.offer(ends, [kind.name, clock.currentTimeMillisUnsafe()]))
      )
    const { close } = yield* start([handlerOf(Endless), handlerOf(Short)], { poll: "10 millis" })
    yield* queue.enqueue(Endless, 0)
    yield* TestClock.adjust(100)
    yield* queue.enqueue(Short, 0)
    yield* TestClock.adjust(136 - 100)
    assert.strictEqual(yield* Queue.size(ends), 0)
    for (let i = 0; i < 300; i++) yield* TestClock.adjust(1)
    const took = new Map(yield* Queue.takeAll(ends))
    assert.isTrue((took.get(Short.name) ?? 0) >= 137 && (took.get(Short.name) ?? 0) <= 150, String([...took]))
    assert.isTrue((took.get(Endless.name) ?? 0) >= 250 && (took.get(Endless.name) ?? 0) <= 263, String([...took]))
    yield* close
  }).pipe(Effect.provide(layerMemory)))

it.effect("a drain with nothing to wait for takes no time", () =>
  Effect.gen(function*() {
    const queue = yield* JobQueue
    const { close, worker } = yield* start([JobHandler.plain(Other, () => Effect.void)], {})
    yield* queue.enqueue(Other, 1)
    yield* TestClock.adjust("2 seconds")
    // The clock stands still.
    yield* worker.drain
    yield* close
  }).pipe(Effect.provide(layerMemory)))

it.effect("a drain ends with the last handler", () =>
  Effect.gen(function*() {
    const queue = yield* JobQueue
    const gate = yield* Deferred.make<void>()
    const started = yield* Deferred.make<void>()
    const { close, worker } = yield* start([
      JobHandler.plain(Other, () => Effect.andThen(Deferred.succeed(started, undefined), Deferred.await(gate)))
    ], { drainGrace: "1 hour" })
    const id = yield* queue.enqueue(Other, 1)
    yield* TestClock.adjust("2 seconds")
    yield* Deferred.await(started)
    const draining = yield* Effect.forkChild(worker.drain, { startImmediately: true })
    yield* TestClock.adjust("30 seconds")
    assert.isUndefined(draining.pollUnsafe())
    yield* Deferred.succeed(gate, undefined)
    // The clock stands still.
    yield* Fiber.join(draining)
    assert.strictEqual((yield* queue.ended(id)).state, "succeeded")
    yield* close
  }).pipe(Effect.provide(layerMemory)))

it.effect("what a claim brings to a worker that drains goes back, and does not run", () =>
  Effect.gen(function*() {
    const queue = yield* JobQueue
    const gate = yield* Deferred.make<void>()
    const asked = yield* Deferred.make<void>()
    let ran = 0
    let isGated = false
    const { close, worker } = yield* start(
      [JobHandler.plain(Other, () => Effect.sync(() => void ran++))],
      { poll: "1 second", drainGrace: "1 hour" },
      (store) => ({
        claim: (worker, nth, requests) =>
          Effect.tap(store.claim(worker, nth, requests), (jobs) =>
            isGated && jobs.length > 0
              ? Effect.andThen(Deferred.succeed(asked, undefined), Deferred.await(gate))
              : Effect.void)
      })
    )
    yield* TestClock.adjust("2 seconds")
    isGated = true
    const ids = yield* queue.enqueueMany(Other, [1, 2, 3])
    yield* TestClock.adjust("2 seconds")
    yield* Deferred.await(asked)
    const draining = yield* Effect.forkChild(worker.drain, { startImmediately: true })
    yield* TestClock.adjust("1 minute")
    assert.isUndefined(draining.pollUnsafe(), "it waits for the answer")
    yield* Deferred.succeed(gate, undefined)
    yield* TestClock.adjust("1 second")
    assert.isDefined(draining.pollUnsafe())
    assert.strictEqual(ran, 0)
    const infos = yield* Effect.forEach(ids, queue.find)
    assert.deepStrictEqual(infos.map((info) => info._tag === "Some" ? [info.value.state, info.value.attempt] : []), [
      ["ready", 0],
      ["ready", 0],
      ["ready", 0]
    ])
    yield* close
  }).pipe(Effect.provide(layerMemory)))

it.effect("a worker whose word that it is busy got no answer is woken all the same when it sleeps again", () =>
  Effect.gen(function*() {
    const queue = yield* JobQueue
    const told: Array<boolean> = []
    const done: Array<number> = []
    const lost = new JobQueueError({ operation: "idle", reason: "Unavailable", detail: "the answer is lost" })
    const handler = JobHandler.plain(Other, (n) => Effect.map(Effect.sleep("150 millis"), () => void done.push(n)))
    const { close } = yield* start([handler], { concurrency: 1, maxClaim: 1, poll: "1 hour" }, (store) => ({
      join: (joining) =>
        Effect.map(store.join(joining), (member) => ({
          ...member,
          idle: (isIdle) => {
            told.push(isIdle)
            return Effect.andThen(member.idle(isIdle), isIdle ? Effect.void : Effect.fail(lost))
          }
        }))
    }))
    yield* TestClock.adjust("1 second")
    yield* queue.enqueueMany(Other, [1, 2, 3, 4, 5])
    yield* TestClock.adjust("2 seconds")
    assert.deepStrictEqual([told.includes(false), done], [true, [1, 2, 3, 4, 5]])
    yield* queue.enqueue(Other, 6)
    yield* TestClock.adjust("1 second")
    assert.deepStrictEqual(done, [1, 2, 3, 4, 5, 6])
    yield* close
  }).pipe(Effect.provide(layerMemory)))

const Keyed = Job.make("session.keyed", { payload: Schema.Int, key: () => "k" })

it.effect("what waited behind a key runs when the transaction before it commits, without a wake-up and before the poll", () =>
  Effect.gen(function*() {
    const queue = yield* JobQueue
    const signals = yield* Queue.unbounded<Signal>()
    let ran = 0
    const handler = JobHandler.transactional(Keyed, () => Effect.delay(Effect.sync(() => void ran++), "1 second"), {
      maxGroup: 1
    })
    const { close } = yield* start([handler], { poll: "1 hour" }, (store) => ({
      join: (joining) => Effect.map(store.join(joining), (member) => ({ ...member, signals }))
    }))
    yield* queue.enqueueMany(Keyed, [1, 2, 3])
    yield* Queue.offer(signals, { _tag: "Wake" })
    yield* TestClock.adjust("5 seconds")
    assert.strictEqual(ran, 3)
    yield* close
  }).pipe(Effect.provide(layerMemory)))

it.effect("a transaction whose lease is lost is counted, and its job is left to whoever has it", () =>
  Effect.gen(function*() {
    const queue = yield* JobQueue
    const { close, worker } = yield* start([JobHandler.transactional(Other, () => Effect.void)], {}, () => ({
      settleAll: (_, settlements) => Effect.fail(new JobLeaseLost({ ids: settlements.map(({ job }) => job.id) }))
    }))
    const id = yield* queue.enqueue(Other, 1)
    yield* TestClock.adjust("2 seconds")
    assert.strictEqual((yield* worker.status).lost, 1)
    const info = yield* queue.find(id)
    assert.strictEqual(info._tag === "Some" ? info.value.state : "gone", "running")
    yield* close
  }).pipe(Effect.provide(layerMemory)))
