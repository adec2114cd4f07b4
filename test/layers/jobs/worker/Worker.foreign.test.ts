/** What users write and the jobs wing calls: whatever it throws, answers or never answers costs its own job, with a reason that says so. */
import { assert, describe, it } from "@effect/vitest"
import { type Duration, Effect, Layer, Queue, Schedule, Schema, SchemaGetter } from "effect"
import { layerMemory } from "../../../../src/layers/jobs/MemoryJobQueue.ts"
import * as Worker from "../../../../src/layers/jobs/worker/Worker.ts"
import * as Job from "../../../../src/services/jobs/Job.ts"
import { JobAdmin } from "../../../../src/services/jobs/JobAdmin.ts"
import * as JobHandler from "../../../../src/services/jobs/JobHandler.ts"
import { JobQueue } from "../../../../src/services/jobs/JobQueue.ts"
import { type CronEntry, JobStore } from "../../../../src/services/jobs/JobStore.ts"
import { JobWorker } from "../../../../src/services/jobs/JobWorker.ts"

const options = { poll: "20 millis", beat: "20 millis", lease: "60 seconds" } as const
const bad = 13
const good = [10, 11, 12, 14, 15, 16]

class Unshowable extends Error {
  override get message(): string {
    throw new Error("not even its message")
  }
  override get stack(): string {
    throw new Error("not even its stack")
  }
}

const boom = (): never => {
  throw new TypeError("boom")
}

/** JavaScript's answers: none of them is what the types ask for. */
const anything = (value: unknown) => value as never

interface Foreign {
  readonly payload?: Schema.Codec<number, number>
  readonly success?: Schema.Codec<number, number>
  readonly error?: Schema.Codec<{ readonly why: string }, { readonly why: string }>
  readonly retry?: Schedule.Schedule<unknown, number>
  readonly timeout?: Duration.Input
  /** What the handler does with the bad job; with the others it answers their number. */
  readonly handle?: () => Effect.Effect<number, unknown>
  readonly reason: Job.JobFailure["reason"]
  readonly message: string
  /** Again, or not: a codec that throws would throw again. */
  readonly state: "dead" | "scheduled"
}

const failing = () => Effect.fail({ why: "no" })
const throwsFor13 = (n: number) => n === bad ? boom() : n

/** A codec of numbers with this way in and this way out. */
const codec = (
  decode: (n: number) => number,
  encode: (n: number) => number
): Schema.Codec<number, number> =>
  Schema.Int.pipe(Schema.decodeTo(Schema.Int, {
    decode: SchemaGetter.transform(decode),
    encode: SchemaGetter.transform(encode)
  }))
const asIs = (n: number) => n

const table: Record<string, Foreign> = {
  "a payload whose decoding throws": {
    payload: codec(throwsFor13, asIs),
    reason: "PayloadInvalid",
    message: "boom",
    state: "dead"
  },
  "a payload whose decoding is asynchronous": {
    payload: Schema.Int.pipe(Schema.decodeTo(Schema.Int, {
      decode: SchemaGetter.transformEffect((n: number) =>
        n === bad ? Effect.delay(Effect.succeed(n), 1) : Effect.succeed(n)
      ),
      encode: SchemaGetter.transform(asIs)
    })),
    reason: "PayloadInvalid",
    message: "",
    state: "dead"
  },
  "a payload whose decoding answers what it should not": {
    payload: codec((n) => n === bad ? anything("thirteen") : n, asIs),
    reason: "PayloadInvalid",
    message: "number",
    state: "dead"
  },
  "an error whose encoding throws": {
    error: Schema.Struct({ why: Schema.String }).pipe(Schema.decodeTo(Schema.Struct({ why: Schema.String }), {
      decode: SchemaGetter.transform((error: { readonly why: string }) => error),
      encode: SchemaGetter.transform(boom)
    })),
    handle: failing,
    reason: "Failed",
    message: "no",
    state: "scheduled"
  },
  "an error that cannot be shown": {
    handle: () => Effect.fail(new Unshowable()),
    reason: "Failed",
    message: "cannot be shown",
    state: "scheduled"
  },
  "a defect that cannot be shown": {
    handle: () => Effect.die(new Unshowable()),
    reason: "Defect",
    message: "cannot be shown",
    state: "scheduled"
  },
  "a message that Postgres cannot hold": {
    handle: () => Effect.fail(`a\u0000b ${"😀".repeat(2_000)}c\ud83d`),
    reason: "Failed",
    message: "a\uFFFDb ",
    state: "scheduled"
  },
  "a handler that throws": { handle: boom, reason: "Defect", message: "boom", state: "scheduled" },
  "a handler that answers undefined": {
    handle: () => anything(undefined),
    reason: "Defect",
    message: "ffect",
    state: "scheduled"
  },
  "a handler that answers a promise": {
    handle: () => anything(Promise.resolve(1)),
    reason: "Defect",
    message: "ffect",
    state: "scheduled"
  },
  "a handler whose effect is none half way": {
    handle: () => Effect.flatMap(Effect.sleep(1), () => anything(undefined)),
    reason: "Defect",
    message: "Not a valid effect",
    state: "scheduled"
  },
  "a handler that interrupts itself": {
    handle: () => Effect.interrupt,
    reason: "Defect",
    message: "the handler interrupted itself",
    state: "scheduled"
  },
  "a handler that never ends": {
    handle: () => Effect.never,
    timeout: "100 millis",
    reason: "TimedOut",
    message: "Did not end within",
    state: "scheduled"
  },
  ...Object.fromEntries(
    Object.entries<() => Effect.Effect<Duration.Input>>({
      throws: boom,
      dies: () => Effect.die(new Unshowable()),
      "never says": () => Effect.never,
      "says Infinity": () => Effect.succeed(Infinity),
      "says less than nothing": () => Effect.succeed(-5),
      "says nothing that is a duration": () => Effect.succeed(anything("soon"))
    }).map(([what, say]) => [`a retry schedule that ${what}`, {
      retry: Schedule.addDelay(Schedule.forever, say),
      handle: failing,
      reason: "Failed",
      message: "no",
      state: "scheduled"
    }])
  )
}

const modes = ["plain", "transactional", "batch"] as const

const handlerOf = (mode: typeof modes[number], { handle, ...foreign }: Foreign) => {
  const kind = Job.make("foreign", {
    payload: foreign.payload ?? Schema.Int,
    success: foreign.success ?? Schema.Int,
    error: foreign.error ?? Schema.Struct({ why: Schema.String }),
    retry: foreign.retry ?? Schedule.spaced("1 hour"),
    timeout: foreign.timeout ?? "30 seconds"
  })
  const one = (n: number) => n === bad && handle !== undefined ? handle() : Effect.succeed(n)
  const handler = {
    plain: () => JobHandler.plain(kind, one),
    transactional: () => JobHandler.transactional(kind, one),
    batch: () => JobHandler.batch(kind, (items) => Effect.forEach(items, ({ payload }) => one(payload)))
  }[mode]()
  return { kind, handler }
}

/** Runs good jobs with the bad one among them; answers what became of them, and how many sessions it took. */
const run = Effect.fnUntraced(function*(mode: typeof modes[number], foreign: Foreign) {
  const queue = yield* JobQueue
  const store = yield* JobStore
  let joins = 0
  const counted = JobStore.of({ ...store, join: (joining) => Effect.suspend(() => (joins++, store.join(joining))) })
  const { handler, kind } = handlerOf(mode, foreign)
  const ids = yield* queue.enqueueMany(kind, [...good.slice(0, 3), bad, ...good.slice(3)])
  yield* Effect.provide(
    Effect.flatMap(JobWorker, (worker) => worker.idle),
    Layer.provide(Worker.layer([handler], options), Layer.succeed(JobStore, counted))
  )
  const { jobs } = yield* (yield* JobAdmin).list({})
  assert.strictEqual(jobs.length, ids.length)
  assert.strictEqual(joins, 1, "the session went on")
  return { mine: jobs.filter(({ payload }) => payload === bad), others: jobs.filter(({ payload }) => payload !== bad) }
})

describe("what users write", () => {
  for (const [what, foreign] of Object.entries(table)) {
    for (const mode of modes) {
      it.live(`${what} costs its own job only (${mode})`, () =>
        Effect.gen(function*() {
          const { mine, others } = yield* run(mode, foreign)
          assert.deepStrictEqual(
            others.map(({ result, state }) => [state, result]),
            others.map(({ payload }) => ["succeeded", payload])
          )
          const [job] = mine
          assert.deepInclude(job, { state: foreign.state, attempt: 1 })
          assert.strictEqual(job?.failure?.reason, foreign.reason)
          assert.include(job?.failure?.message ?? "", foreign.message)
          assert.isTrue(job?.failure?.message.isWellFormed() === true && !job.failure.message.includes("\u0000"))
          // At a time that there is: by its schedule, or a minute later when that says none.
          const inMillis = (job?.runAt.getTime() ?? NaN) - (job?.enqueuedAt.getTime() ?? NaN)
          assert.isTrue(inMillis >= 0 && inMillis < 3_700_000, String(inMillis))
        }).pipe(Effect.provide(layerMemory)), 10_000)
    }
  }

  // A transaction is undone by a discard; a plain handler has done its work.
  const reasons = { plain: "Defect", transactional: "Discarded", batch: "Discarded" } as const
  const results: Record<string, Pick<Foreign, "success" | "handle">> = {
    "whose encoding throws": { success: codec(asIs, throwsFor13) },
    "that is not what the schema says": { handle: () => Effect.succeed(anything("thirteen")) }
  }
  for (const [what, foreign] of Object.entries(results)) {
    for (const mode of modes) {
      it.live(`a result ${what} costs its own job only (${mode})`, () =>
        Effect.gen(function*() {
          const { mine, others } = yield* run(mode, { ...foreign, reason: "Defect", message: "", state: "dead" })
          assert.isTrue(others.every(({ state }) => state === "succeeded"))
          assert.deepStrictEqual(mine.map(({ attempt, failure, state }) => [state, attempt, failure?.reason]), [
            ["dead", 1, reasons[mode]]
          ])
          assert.include(mine[0]?.failure?.message ?? "", "Result does not fit")
        }).pipe(Effect.provide(layerMemory)), 10_000)
    }
  }

  for (
    const [what, answers] of Object.entries<unknown>({
      "one too few": [1],
      "no list": "123456",
      "one too many": [1, 2, 3]
    })
  ) {
    for (const settle of ["first", "last"] as const) {
      it.live(`a batch that answers ${what} says nothing about any of its jobs (settle ${settle})`, () =>
        Effect.gen(function*() {
          const queue = yield* JobQueue
          const Two = Job.make("foreign.two", {
            payload: Schema.Int,
            success: Schema.Int,
            retry: Schedule.spaced("1 hour")
          })
          const handler = JobHandler.batch(
            Two,
            (items) => items.length === 2 ? Effect.succeed(anything(answers)) : Effect.succeed([7]),
            { settle }
          )
          const ids = yield* queue.enqueueMany(Two, [1, 2])
          yield* Effect.provide(
            Effect.flatMap(JobWorker, (worker) => worker.idle),
            Worker.layer([handler], options)
          )
          const { jobs } = yield* (yield* JobAdmin).list({})
          assert.strictEqual(jobs.length, ids.length)
          // One by one its answers are right.
          const result = settle === "first" ? null : 7
          assert.deepStrictEqual(jobs.map(({ result, state }) => [state, result]), [["succeeded", result], [
            "succeeded",
            result
          ]])
        }).pipe(Effect.provide(layerMemory)))
    }
  }

  const timetables: Record<string, CronEntry["next"]> = {
    throws: boom,
    "says NaN": () => NaN,
    "says Infinity": () => Infinity,
    "says what has passed": (after) => after - 1000,
    "says no number": () => anything("tomorrow")
  }
  for (const [what, next] of Object.entries(timetables)) {
    it.live(`a timetable that ${what} stops no other`, () =>
      Effect.gen(function*() {
        const Tick = Job.make("foreign.tick", { payload: Schema.Literals(["good", "bad"]) })
        const job = {
          queue: Tick.queue,
          kind: Tick.name,
          priority: 0,
          maxAttempts: 1,
          delayMillis: 0,
          runAtMillis: null,
          unique: null,
          key: null,
          keyConcurrency: 1
        }
        const crons = [
          { name: "a", signature: "a", job: { ...job, payload: `"bad"` }, next },
          { name: "b", signature: "b", job: { ...job, payload: `"good"` }, next: (after: number) => after + 50 }
        ]
        const ticked = yield* Queue.unbounded<string>()
        const handler = JobHandler.plain(Tick, (which) => Queue.offer(ticked, which))
        const ticks = yield* Effect.provide(Queue.takeN(ticked, 3), Worker.layer([handler], { ...options, crons }))
        assert.deepStrictEqual([...ticks], ["good", "good", "good"])
      }).pipe(Effect.provide(layerMemory)), 5_000)
  }

  const texts: Record<string, (n: number) => string> = {
    throws: boom,
    "answers a number": anything(() => 5),
    "answers an object": anything(() => ({})),
    "answers NUL": () => "a\u0000",
    "answers half an emoji": () => "a\ud83d",
    "answers too much": () => "é".repeat(901)
  }
  for (const which of ["unique", "key"] as const) {
    for (const [what, of] of Object.entries(texts)) {
      it.effect(`a ${which} function that ${what} is named, and nothing is stored`, () =>
        Effect.gen(function*() {
          const queue = yield* JobQueue
          const kind = Job.make("foreign.text", {
            payload: Schema.Int,
            [which]: (n: number) => n === bad ? of(n) : `${n}`
          })
          const error = yield* Effect.flip(queue.enqueueMany(kind, [1, bad]))
          assert.strictEqual(error._tag, "JobOptionInvalid")
          assert.include(error.message, `kind "foreign.text": ${which}(payload) is `)
          assert.deepStrictEqual((yield* (yield* JobAdmin).list({})).jobs, [])
          yield* queue.enqueue(kind, 1)
        }).pipe(Effect.provide(layerMemory)))
    }
  }

  it.effect("a payload whose encoding throws is named, and nothing is stored", () =>
    Effect.gen(function*() {
      const queue = yield* JobQueue
      const kind = Job.make("foreign.encode", { payload: codec(asIs, throwsFor13) })
      const error = yield* Effect.flip(queue.enqueueMany(kind, [1, bad]))
      assert.strictEqual(error._tag, "JobPayloadInvalid")
      assert.include(error.message, "boom")
      assert.deepStrictEqual((yield* (yield* JobAdmin).list({})).jobs, [])
    }).pipe(Effect.provide(layerMemory)))
})
