/** What the keys of fetch runs do, whatever they are kept in; and what the API does with them. */
import { assert, layer as withLayer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { FetchKeys } from "../../src/services/http/FetchKeys.ts"
import { JobQueueError } from "../../src/services/jobs/JobError.ts"
import { JobQueue } from "../../src/services/jobs/JobQueue.ts"
import { post, request } from "../support/ApiClient.ts"
import * as Harness from "../support/ApiHarness.ts"

const token = (n: number) => `00000000-0000-7000-8000-${String(n).padStart(12, "0")}`

const summary = (name: string) => ({
  name,
  createdAt: "2026-01-01T00:00:00.000Z",
  updatedAt: "2026-01-01T00:00:00.000Z",
  counts: { pending: 1, leased: 0, done: 0, failed: 0, deferred: 0 }
})

const urls = ["https://example.com/1", "https://example.com/2"]

/** The job queue, whose first `failures` jobs are refused as in an outage. */
const stumbling = (failures: number) =>
  Layer.effect(
    JobQueue,
    Effect.map(JobQueue, (queue) => {
      let left = failures
      const away = new JobQueueError({ operation: "enqueue", reason: "Unavailable", detail: "test" })
      return JobQueue.of({
        ...queue,
        enqueue: (kind, payload, options) =>
          Effect.suspend(() => left-- > 0 ? Effect.fail(away) : queue.enqueue(kind, payload, options))
      })
    })
  )

/** `app` provides the services of the API; `lapse` lets the claim of a key end as time would. */
export const suite = <R, E>(
  name: string,
  app: Layer.Layer<Harness.App | R, E>,
  lapse: (key: string) => Effect.Effect<void, unknown, R | Harness.App>
) => {
  withLayer(app, { excludeTestServices: true })(`FetchKeys: ${name}`, (it) => {
    it.effect("a key is claimed once, replayed when there is an answer, and never for another payload", () =>
      Effect.gen(function*() {
        const keys = yield* FetchKeys
        const first = { key: "k1", fingerprint: "f", run: "r1", token: token(1) }
        const begun = yield* keys.begin(first)
        assert.deepStrictEqual(begun, { _tag: "Claimed", claim: { key: "k1", run: "r1", token: token(1) } })
        const second = { ...first, run: "r2", token: token(2) }
        assert.strictEqual((yield* Effect.flip(keys.begin(second)))._tag, "KeyInFlight")
        const other = { ...first, fingerprint: "g", token: token(3) }
        assert.strictEqual((yield* Effect.flip(keys.begin(other)))._tag, "KeyReused")
        yield* keys.finish({ key: "k1", run: "r1", token: token(1) }, summary("r1"))
        assert.deepStrictEqual(yield* keys.begin(second), { _tag: "Replayed", answer: summary("r1") })
        assert.strictEqual((yield* Effect.flip(keys.begin(other)))._tag, "KeyReused")
        // Released too late: the answer stands.
        yield* keys.release({ key: "k1", run: "r1", token: token(1) })
        assert.strictEqual((yield* keys.begin(second))._tag, "Replayed")
      }))

    it.effect("who is released, or lapses, is followed by the next try with the same run, and cannot finish", () =>
      Effect.gen(function*() {
        const keys = yield* FetchKeys
        const first = { key: "k2", fingerprint: "f", run: "r1", token: token(1) }
        yield* keys.begin(first)
        yield* keys.release({ key: "k2", run: "r1", token: token(1) })
        const second = yield* keys.begin({ ...first, run: "r2", token: token(2) })
        assert.deepStrictEqual(second, { _tag: "Claimed", claim: { key: "k2", run: "r1", token: token(2) } })
        yield* lapse("k2")
        const third = yield* keys.begin({ ...first, run: "r3", token: token(3) })
        assert.deepStrictEqual(third, { _tag: "Claimed", claim: { key: "k2", run: "r1", token: token(3) } })
        const late = keys.finish({ key: "k2", run: "r1", token: token(2) }, summary("late"))
        assert.strictEqual((yield* Effect.flip(late))._tag, "KeyInFlight")
        yield* keys.finish({ key: "k2", run: "r1", token: token(3) }, summary("r1"))
        const replayed = yield* keys.begin({ ...first, token: token(4) })
        assert.deepStrictEqual(replayed, { _tag: "Replayed", answer: summary("r1") })
      }))
  })

  withLayer(Layer.provideMerge(Harness.serve().pipe(Layer.provide(Harness.ready)), app), { excludeTestServices: true })(
    `POST /v1/fetches with a key: ${name}`,
    (it) => {
      const jobs = (base: string) =>
        Effect.map(request(`${base}/v1/jobs?kind=fetch.run&limit=200`), (answer) => answer.json.jobs.length as number)

      it.effect("the same again is the same run, another payload is 422, a key that is none is 400", () =>
        Effect.gen(function*() {
          const base = yield* Harness.baseUrl
          const before = yield* jobs(base)
          const key = { "idempotency-key": "same" }
          const first = yield* post(`${base}/v1/fetches`, { urls }, key)
          assert.deepStrictEqual([first.status, first.headers.get("idempotent-replayed")], [202, null])
          const again = yield* post(`${base}/v1/fetches`, { urls }, { "idempotency-key": "\"same\"" })
          assert.deepStrictEqual(
            [again.status, again.text, again.headers.get("location"), again.headers.get("idempotent-replayed")],
            [202, first.text, first.headers.get("location"), "true"]
          )
          for (const body of [{ urls: urls.toReversed() }, { urls, name: "named" }]) {
            const reused = yield* post(`${base}/v1/fetches`, body, key)
            assert.deepStrictEqual([reused.status, reused.json.type], [422, "/problems/idempotency-key-reused"])
          }
          const bad = yield* post(`${base}/v1/fetches`, { urls }, { "idempotency-key": "a b" })
          assert.deepStrictEqual([bad.status, bad.json.type], [400, "/problems/idempotency-key-missing"])
          assert.strictEqual(yield* jobs(base), before + 1)
          // Without a key each request begins a run of its own.
          const bare = yield* post(`${base}/v1/fetches`, { urls })
          assert.notStrictEqual(bare.json.name, first.json.name)
        }))

      it.effect("of many at once one begins the run, and the others are replays or in flight", () =>
        Effect.gen(function*() {
          const base = yield* Harness.baseUrl
          const before = yield* jobs(base)
          const answers = yield* Effect.forEach(
            Array.from({ length: 30 }),
            () => post(`${base}/v1/fetches`, { urls }, { "idempotency-key": "many" }),
            { concurrency: 15 }
          )
          const accepted = answers.filter(({ status }) => status === 202)
          assert.strictEqual(new Set(accepted.map(({ text }) => text)).size, 1)
          assert.strictEqual(accepted.filter(({ headers }) => headers.get("idempotent-replayed") === null).length, 1)
          for (const { headers, json, status } of answers) {
            if (status === 202) continue
            assert.deepStrictEqual([status, json.type], [409, "/problems/idempotency-key-in-flight"])
            assert.strictEqual(headers.get("retry-after"), "1")
          }
          assert.strictEqual(yield* jobs(base), before + 1)
        }))
    }
  )

  withLayer(
    Harness.serve().pipe(
      Layer.provide([Harness.ready, stumbling(1)]),
      Layer.provideMerge(app)
    ),
    { excludeTestServices: true }
  )(`POST /v1/fetches in an outage: ${name}`, (it) => {
    it.effect("what failed may be tried again at once with its key, and begins one run", () =>
      Effect.gen(function*() {
        const base = yield* Harness.baseUrl
        const key = { "idempotency-key": "outage" }
        const failed = yield* post(`${base}/v1/fetches`, { urls }, key)
        assert.deepStrictEqual([failed.status, failed.json.type], [503, "/problems/unavailable"])
        const retried = yield* post(`${base}/v1/fetches`, { urls }, key)
        assert.deepStrictEqual([retried.status, retried.headers.get("idempotent-replayed")], [202, null])
        assert.strictEqual(retried.json.counts.pending, 2)
        const again = yield* post(`${base}/v1/fetches`, { urls }, key)
        assert.deepStrictEqual([again.text, again.headers.get("idempotent-replayed")], [retried.text, "true"])
      }))
  })
}
