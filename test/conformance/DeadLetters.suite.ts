/** What every job storage does with dead letters: a preview says what the redrive then does, whatever lies there. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Layer, Schema } from "effect"
import * as Job from "../../src/services/jobs/Job.ts"
import { JobAdmin } from "../../src/services/jobs/JobAdmin.ts"
import { JobQueue } from "../../src/services/jobs/JobQueue.ts"
import { JobStore } from "../../src/services/jobs/JobStore.ts"
import type { RedriveFilter } from "../../src/services/jobs/Redrive.ts"
import type { Services } from "./JobQueue.suite.ts"

const reasons = ["Failed", "Defect", "TimedOut", "WorkerLost"] as const

const kinds = {
  a: Job.make("dead.a", { payload: Schema.Int, queue: "dead.one" }),
  b: Job.make("dead.b", { payload: Schema.Int, queue: "dead.one" }),
  c: Job.make("dead.c", { payload: Schema.Int })
}

/** Messages that are hard to take out of JSON, or look like something else. */
const messages = [
  "plain",
  "a\u0000b",
  "half \ud83d",
  `{"reason":"TimedOut"}`,
  `", "reason" : "TimedOut`,
  "\\u0000 \\ud83d",
  ""
] as const

const Letter = Schema.Struct({
  kind: Schema.Literals(["a", "b", "c"]),
  unique: Schema.NullOr(Schema.Literals(["u", "v"])),
  key: Schema.NullOr(Schema.Literals(["k"])),
  reason: Schema.Literals(reasons),
  message: Schema.Literals(messages)
})
type Letter = typeof Letter.Type

const Move = Schema.Struct({
  kind: Schema.NullOr(Schema.Literals(["a", "b", "c"])),
  queue: Schema.NullOr(Schema.Literals(["dead.one", "dead.c"])),
  reason: Schema.NullOr(Schema.Literals(reasons)),
  /** Some of the dead letters, by their place, and a job that is not there. */
  ids: Schema.NullOr(Schema.Array(Schema.Literals([0, 1, 2, 3, 4, 99])).pipe(Schema.check(Schema.isMaxLength(4)))),
  limit: Schema.NullOr(Schema.Literals([1, 2, 50])),
  /** Afterwards this many of what became live are cancelled, so that their unique texts are free again. */
  cancels: Schema.Literals([0, 0, 1, 5])
})

/** Makes dead letters: each is enqueued, claimed and given up before the next, so that twins are possible. */
const bury = Effect.fnUntraced(function*(letters: ReadonlyArray<Letter>) {
  const queue = yield* JobQueue
  const store = yield* JobStore
  const { worker } = yield* store.join({ queues: [], label: "undertaker", leaseMillis: 60_000, beatMillis: 1_000 })
  return yield* Effect.forEach(letters, (letter, n) =>
    Effect.gen(function*() {
      const id = yield* queue.enqueue(kinds[letter.kind], n, {
        ...(letter.unique === null ? {} : { unique: letter.unique }),
        ...(letter.key === null ? {} : { key: letter.key })
      })
      const claimed = yield* store.claim(worker, n + 1, [{ queue: kinds[letter.kind].queue, limit: 10 }])
      assert.deepStrictEqual(claimed.map((job) => job.id), [id])
      const { message, reason } = letter
      yield* store.settle(
        worker,
        claimed.map((job) => ({ job, verdict: { _tag: "Dead", failure: { reason, message } } }))
      )
      return id
    }))
})

const filterOf = (move: typeof Move.Type, ids: ReadonlyArray<Job.JobId>): RedriveFilter => ({
  ...(move.kind === null ? {} : { kind: kinds[move.kind].name }),
  ...(move.queue === null ? {} : { queue: move.queue }),
  ...(move.reason === null ? {} : { reason: move.reason }),
  ...(move.ids === null ? {} : { ids: move.ids.map((n) => ids[n] ?? Job.JobId.make("999999")) }),
  ...(move.limit === null ? {} : { limit: move.limit })
})

/** The dead letters that a filter means, oldest first, by the list that operators see. */
const meantBy = (filter: RedriveFilter, dead: ReadonlyArray<Job.JobInfo>) =>
  dead.filter((info) =>
    (filter.kind === undefined || info.kind === filter.kind) &&
    (filter.queue === undefined || info.queue === filter.queue) &&
    (filter.reason === undefined || info.failure?.reason === filter.reason) &&
    (filter.ids === undefined || filter.ids.includes(info.id))
  ).reverse()

export const suite = (name: string, layer: Layer.Layer<Services, unknown>, runs: number) =>
  describe(name, () => {
    it.live.prop(
      "a redrive takes what its preview says, leaves what is held back, and no letter keeps the others",
      {
        letters: Schema.Array(Letter).pipe(Schema.check(Schema.isMaxLength(8))),
        moves: Schema.Array(Move).pipe(Schema.check(Schema.isMaxLength(4)))
      },
      ({ letters, moves }) =>
        Effect.gen(function*() {
          const admin = yield* JobAdmin
          const queue = yield* JobQueue
          const ids = yield* bury(letters)
          for (const move of moves) {
            const filter = filterOf(move, ids)
            const before = (yield* admin.list({ state: "dead", limit: 1000 })).jobs
            const meant = meantBy(filter, before).map((info) => info.id)
            const preview = yield* admin.preview(filter)
            const done = yield* Effect.exit(admin.redrive(filter))
            if (done._tag === "Failure") {
              assert.deepStrictEqual([filter.ids?.length, preview.matched], [1, 0])
              continue
            }
            const taken = done.value
            assert.deepStrictEqual([preview.matched, preview.sample.map((info) => info.id)], [
              taken.length,
              taken.slice(0, 10)
            ])
            // In their order, none that was not meant, and all but the held ones as far as the limit goes.
            assert.deepStrictEqual(meant.filter((id) => taken.includes(id)), [...taken])
            assert.strictEqual(taken.length, Math.min(filter.limit ?? 1000, meant.length - preview.held))
            const after = (yield* admin.list({ state: "dead", limit: 1000 })).jobs.map((info) => info.id)
            assert.deepStrictEqual(after, before.map((info) => info.id).filter((id) => !taken.includes(id)))
            // Never two live jobs of one text.
            const live = taken.map((id) => letters[ids.indexOf(id)]).filter((letter) => letter?.unique !== null)
            assert.strictEqual(new Set(live.map((letter) => `${letter?.kind} ${letter?.unique}`)).size, live.length)
            for (const id of taken.slice(0, move.cancels)) yield* queue.cancel(id)
          }
          const stats = yield* admin.stats
          const dead = (yield* admin.list({ state: "dead", limit: 1000 })).jobs.length
          assert.strictEqual(stats.reduce((total, row) => total + row.dead, 0), dead)
        }).pipe(Effect.scoped, Effect.provide(layer)),
      { arbitrary: { runs } }
    )

    it.live("one dead letter that a live job holds back is named, and one that is not there too", () =>
      Effect.gen(function*() {
        const admin = yield* JobAdmin
        const letter = { kind: "a", unique: "u", key: null, reason: "Failed", message: "plain" } as const
        const [first, second] = yield* bury([letter, letter])
        assert.isTrue(first !== undefined && second !== undefined)
        if (first === undefined || second === undefined) return
        assert.deepStrictEqual(yield* admin.redrive({}), [first])
        assert.strictEqual((yield* Effect.flip(admin.redrive({ ids: [second] })))._tag, "JobHeldBack")
        assert.strictEqual((yield* Effect.flip(admin.redrive({ ids: [Job.JobId.make("999999")] })))._tag, "JobNotFound")
        assert.deepStrictEqual(yield* admin.preview({ limit: 1 }), { matched: 0, held: 1, sample: [] })
      }).pipe(Effect.scoped, Effect.provide(layer)))
  })
