/** The access log: one entry for each request, the hot routes' too, and nothing in it that a caller wants to keep to itself. */
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Queue } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import { AccessLog, type Entry } from "../../../src/services/http/AccessLog.ts"
import { request } from "../../support/ApiClient.ts"
import * as Harness from "../../support/ApiHarness.ts"

it.live("tells of each request once, by path and route, without its query", () =>
  Effect.gen(function*() {
    const entries = yield* Queue.unbounded<Entry>()
    const app = Harness.serve().pipe(
      Layer.provide(Layer.succeed(AccessLog, (entry: Entry) => void Queue.offerUnsafe(entries, entry))),
      Layer.provide(Harness.ready),
      Layer.provideMerge(Harness.memory)
    )
    yield* Effect.gen(function*() {
      const base = yield* Harness.baseUrl
      const id = "01890a5d-ac96-774b-bcce-b302099a8057"
      const get = (path: string) => request(`${base}${path}`, { headers: { "x-request-id": "mine" } })
      const answers = [
        yield* get("/livez?token=s3cret"),
        yield* get(`/v1/orders/${id}?key=s3cret`),
        yield* get("/v1/nothing#s3cret")
      ]
      for (const answer of answers) {
        const entry = yield* Queue.take(entries)
        const { answeredAt, millis, ...rest } = entry
        assert.isAtLeast(millis, 0)
        assert.isAbove(answeredAt, 1_700_000_000_000)
        assert.deepStrictEqual([rest.requestId, rest.status, rest.bytes], ["mine", answer.status, answer.text.length])
        assert.notInclude(JSON.stringify(entry), "s3cret")
        assert.strictEqual(rest.path, new URL(entry.path, base).pathname)
      }
      assert.deepStrictEqual(yield* Queue.size(entries), 0)
    }).pipe(Effect.provide(app))
  }))

it.live("tells of a client that left before its answer", () =>
  Effect.gen(function*() {
    const entries = yield* Queue.unbounded<Entry>()
    const asked = yield* Deferred.make<void>()
    const waits = Effect.andThen(Deferred.succeed(asked, undefined), Effect.never)
    const app = Harness.serve({}, HttpRouter.add("GET", "/v1/products/waits", waits)).pipe(
      Layer.provide(Layer.succeed(AccessLog, (entry: Entry) => void Queue.offerUnsafe(entries, entry))),
      Layer.provide(Harness.ready),
      Layer.provideMerge(Harness.memory)
    )
    yield* Effect.gen(function*() {
      const base = yield* Harness.baseUrl
      const client = yield* Effect.forkChild(request(`${base}/v1/products/waits`))
      yield* Deferred.await(asked)
      yield* Fiber.interrupt(client)
      const { bytes, method, path, status } = yield* Queue.take(entries)
      assert.deepStrictEqual({ bytes, method, path, status }, {
        bytes: 0,
        method: "GET",
        path: "/v1/products/waits",
        status: 499
      })
    }).pipe(Effect.provide(app))
  }))
