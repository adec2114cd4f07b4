/** When a run is complete, and what it says when it is not. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { RunMeter } from "../../../src/programs/fetch/RunMeter.ts"
import { complete, isDone } from "../../../src/programs/fetch/RunReport.ts"

const none = { pending: 0, leased: 0, done: 3, failed: 0, deferred: 0 }

const reportOf = (counts: Partial<typeof none>, malformed = 0) => {
  const meter = new RunMeter(0)
  meter.malformed = malformed
  return { name: "r", meter, done: 0, durationMillis: 1, counts: { ...none, ...counts }, stopped: undefined }
}

const verdict = (counts: Partial<typeof none>, malformed = 0) =>
  Effect.match(complete(reportOf(counts, malformed)), {
    onFailure: (error) => error.message,
    onSuccess: () => "complete"
  })

it.effect("every URL must have succeeded, and every line been understood", () =>
  Effect.gen(function*() {
    assert.strictEqual(yield* verdict({}), "complete")
    assert.strictEqual(yield* verdict({ failed: 2 }), "run r: 2 failed")
    assert.strictEqual(yield* verdict({ pending: 1, leased: 3 }), "run r: 4 left to fetch")
    assert.strictEqual(yield* verdict({}, 5), "run r: 5 malformed")
    assert.strictEqual(yield* verdict({ failed: 1, pending: 1 }, 1), "run r: 1 failed, 1 left to fetch, 1 malformed")
  }))

it("nothing is left to do when the input was read to its end and nothing of it waits", () => {
  const report = reportOf({ failed: 2 })
  assert.isFalse(isDone(report), "there may be more input")
  report.meter.isInputDone = true
  assert.isTrue(isDone(report))
  const more = reportOf({ pending: 1 })
  more.meter.isInputDone = true
  assert.isFalse(isDone(more))
})
