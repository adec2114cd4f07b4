/** Reports are written together, at most once in a second, and none is kept of what no longer runs. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import * as TestClock from "effect/testing/TestClock"
import * as MemoryJobQueue from "../../../../src/layers/jobs/MemoryJobQueue.ts"
import { Reports } from "../../../../src/layers/jobs/worker/Reports.ts"
import { JobId } from "../../../../src/services/jobs/Job.ts"
import { type ClaimedJob, JobStore } from "../../../../src/services/jobs/JobStore.ts"

const jobOf = (id: string): ClaimedJob => ({
  id: JobId.make(id),
  fence: 1,
  queue: "q",
  kind: "k",
  attempt: 1,
  maxAttempts: 1,
  payload: null,
  enqueuedAt: new Date(0),
  key: null
})

it.effect("many reports are few writes, of the latest of each running job", () =>
  Effect.gen(function*() {
    const written: Array<ReadonlyArray<readonly [string, number | undefined]>> = []
    const running = new Map([["1", jobOf("1")], ["2", jobOf("2")]])
    const store = JobStore.of({
      ...yield* JobStore,
      report: (_, reports) =>
        Effect.sync(() => {
          written.push(reports.map(({ job, report }) => [job.id, report.fraction]))
          return reports.length
        })
    })
    const reports = new Reports({ store, worker: 1, running: (id) => running.get(id) })
    yield* Effect.forkChild(reports.run, { startImmediately: true })
    for (let millis = 0; millis < 3_000; millis += 10) {
      reports.take(JobId.make("1"), { fraction: millis / 3_000 })
      reports.take(JobId.make("2"), { fraction: 0.5 })
      reports.take(JobId.make("3"), { fraction: 1 })
      if (millis === 2_500) running.delete("2")
      yield* TestClock.adjust(10)
    }
    yield* TestClock.adjust(5_000)
    // One at once, and one in each second after it.
    assert.isAtLeast(written.length, 4)
    assert.isAtMost(written.length, 5)
    const ofFirst = written.flatMap((some) => some.filter(([id]) => id === "1").map(([, fraction]) => fraction ?? -1))
    assert.deepStrictEqual(ofFirst, ofFirst.toSorted((a, b) => a - b))
    assert.strictEqual(ofFirst.at(-1), 2_990 / 3_000)
    assert.deepStrictEqual([...new Set(written.flat().map(([id]) => id))].toSorted(), ["1", "2"])
    assert.deepStrictEqual(written.at(-1)?.map(([id]) => id), ["1"])
  }).pipe(Effect.provide(MemoryJobQueue.layerMemory)))
