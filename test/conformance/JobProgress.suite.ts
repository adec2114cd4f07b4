/** What every job storage does with the progress of running jobs. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, type Layer, Option, Schema, type Scope, Stream } from "effect"
import * as Worker from "../../src/layers/jobs/worker/Worker.ts"
import * as Job from "../../src/services/jobs/Job.ts"
import * as JobHandler from "../../src/services/jobs/JobHandler.ts"
import * as JobProgress from "../../src/services/jobs/JobProgress.ts"
import { JobQueue } from "../../src/services/jobs/JobQueue.ts"
import { JobStore } from "../../src/services/jobs/JobStore.ts"
import type { WorkerOptions } from "../../src/services/jobs/JobWorker.ts"
import type { Services } from "./JobQueue.suite.ts"

const Long = Job.make("long", { payload: Schema.Null })
const quick: WorkerOptions = { poll: "100 millis", beat: "50 millis", lease: "600 millis" }
const progressOf = (id: Job.JobId) =>
  Effect.map(
    Effect.flatMap(JobQueue, (queue) => queue.find(id)),
    (info) => Option.getOrThrow(info).progress
  )

export const suite = (name: string, layer: Layer.Layer<Services, unknown>) =>
  describe(`${name}: progress`, () => {
    const test = (title: string, body: () => Effect.Effect<unknown, unknown, Services | Scope.Scope>) =>
      it.live(title, () => Effect.asVoid(Effect.provide(Effect.scoped(body()), layer)))

    for (const mode of ["plain", "transactional", "batch"] as const) {
      test(`is told by a ${mode} handler, seen while it runs, and gone at the end`, () =>
        Effect.gen(function*() {
          const queue = yield* JobQueue
          const go = yield* Deferred.make<void>()
          const run = (attempt: Job.Attempt) =>
            Effect.andThen(
              // The first is written at once, and of the others the last.
              Effect.forEach([0, 1, 2, 3], (n) => JobProgress.report(attempt, { fraction: n / 4, detail: { at: n } })),
              Deferred.await(go)
            )
          const handler = {
            plain: JobHandler.plain(Long, (_, attempt) => run(attempt)),
            transactional: JobHandler.transactional(Long, (_, attempt) => run(attempt)),
            batch: JobHandler.batch(Long, ([item]) => item === undefined ? Effect.void : run(item.attempt))
          }[mode]
          const id = yield* queue.enqueue(Long, null)
          const seen = yield* Effect.provide(
            Effect.gen(function*() {
              const told = yield* Stream.runHead(
                Stream.filter(JobProgress.watch(id), ({ progress }) => progress?.fraction === 0.75)
              )
              const watching = yield* Effect.forkChild(Stream.runCollect(JobProgress.watch(id)), {
                startImmediately: true
              })
              yield* Deferred.succeed(go, undefined)
              const all = yield* Fiber.join(watching)
              assert.strictEqual(Array.from(all).at(-1)?.state, "succeeded")
              return Option.getOrThrow(told)
            }),
            Worker.layer([handler], quick)
          )
          assert.strictEqual(seen.state, "running")
          assert.deepInclude(seen.progress, { attempt: 1, fraction: 0.75, detail: { at: 3 } })
          assert.isNull(yield* progressOf(id))
        }))
    }

    test("is refused from a worker that has lost the job, or is no member, and stays over attempts", () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue
        const store = yield* JobStore
        const joining = { queues: ["long"], label: "t", leaseMillis: 60_000, beatMillis: 1_000 }
        const id = yield* queue.enqueue(Long, null)
        const { worker } = yield* store.join(joining)
        const [job = assert.fail()] = yield* store.claim(worker, 1, [{ queue: "long", limit: 1 }])
        const report = (fraction: number, by = worker, of = job) =>
          store.report(by, [{ job: of, report: { fraction } }])
        assert.strictEqual(yield* report(0.1), 1)
        assert.strictEqual(yield* report(0.2, worker, { ...job, fence: 2 }), 0)
        assert.strictEqual(yield* report(0.3, worker + 1000), 0)
        yield* store.settle(worker, [{ job, verdict: { _tag: "Released", delayMillis: 0 } }])
        assert.strictEqual(yield* report(0.4), 0)
        const told = yield* progressOf(id)
        assert.deepInclude(told, { attempt: 1, fraction: 0.1, detail: null })
        const left = yield* Effect.scoped(Effect.gen(function*() {
          const other = yield* store.join(joining)
          const [again = assert.fail()] = yield* store.claim(other.worker, 1, [{ queue: "long", limit: 1 }])
          assert.strictEqual(yield* report(0.5, other.worker, again), 1)
          return { worker: other.worker, job: again }
        }))
        assert.strictEqual(yield* report(0.6, left.worker, left.job), 0)
        assert.deepInclude(yield* progressOf(id), { fraction: 0.5 })
      }))

    test("nonsense is refused by name, and a handler alone reports to nobody", () =>
      Effect.gen(function*() {
        const attempt = { id: Job.JobId.make("1") }
        for (const wrong of [{ fraction: 2 }, { fraction: NaN }, { detail: "x".repeat(5_000) }]) {
          assert.strictEqual((yield* Effect.flip(JobProgress.report(attempt, wrong)))._tag, "JobOptionInvalid")
        }
        yield* JobProgress.report(attempt, { fraction: 1, detail: [1, null, { a: "b" }] })
        const missing = yield* Effect.flip(Stream.runDrain(JobProgress.watch(Job.JobId.make("999999"))))
        assert.strictEqual(missing._tag, "JobNotFound")
      }))
  })
