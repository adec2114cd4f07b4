/**
 * How the fetcher lives with the rest of the house: deadlines that are inherited, the live tree, and what a frontier is told of hosts.
 */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Layer, Result, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as HttpFetcher from "../../../src/layers/fetch/HttpFetcher.ts"
import { Fetcher } from "../../../src/services/fetch/Fetcher.ts"
import * as FetchPolicy from "../../../src/services/fetch/FetchPolicy.ts"
import { parseTarget } from "../../../src/services/fetch/FetchRequest.ts"
import type { FetchSource } from "../../../src/services/fetch/FetchSource.ts"
import type { HostState } from "../../../src/services/fetch/HostState.ts"
import * as Deadline from "../../../src/services/tasks/Deadline.ts"
import * as Tasks from "../../../src/services/tasks/Tasks.ts"
import * as ScriptedClient from "../../support/fetch/ScriptedClient.ts"
import { leakFree } from "../../support/leakFree.ts"

const provide = (script: ScriptedClient.Script) => Effect.provide(Layer.provide(HttpFetcher.layer, script.layer))

/** A source of these URLs, once. */
const sourceOf = (urls: ReadonlyArray<string>, hosts?: ReadonlyArray<HostState>): FetchSource => {
  let isGiven = false
  return {
    pull: () =>
      Effect.sync(() => {
        if (isGiven) return { _tag: "Done" }
        isGiven = true
        return { _tag: "Targets", targets: urls.map((url) => Result.getOrThrow(parseTarget({ url }))), hosts }
      })
  }
}

describe("deadlines that are inherited", () => {
  it.effect("an attempt is not given more than what is left, and says so", () => {
    const script = ScriptedClient.make(() => ({ silent: true }))
    return Effect.gen(function*() {
      const fetcher = yield* Fetcher
      const fiber = yield* Effect.forkChild(
        // Lifted when the attempt has begun: what it was given then is what it keeps to.
        Deadline.use("1 second", (deadline) =>
          Effect.flatMap(
            Effect.forkChild(fetcher.outcome({ url: "http://one.test/" }), { startImmediately: true }),
            (fetching) => Effect.andThen(deadline.lift, Fiber.join(fetching))
          )),
        { startImmediately: true }
      )
      yield* TestClock.adjust("1 hour")
      const outcome = yield* Fiber.join(fiber)
      assert.strictEqual(outcome.error?._tag, "TotalTimeout")
      assert.strictEqual(outcome.error?.message, "deadline of 1000 ms passed")
      assert.strictEqual(outcome.durationMs, 1000)
    }).pipe(provide(script), leakFree)
  })
})

describe("the live tree", () => {
  it.effect("shows what is fetched, without its secrets, and how much waits", () => {
    const script = ScriptedClient.make(() => ({ silent: true }))
    return Effect.gen(function*() {
      const fetcher = yield* Fetcher
      const urls = ["http://user:pass@one.test/?token=abc", "http://one.test/2", "http://one.test/3"]
      const fiber = yield* Effect.forkChild(
        Stream.runDrain(fetcher.fetchAll(Stream.map(Stream.fromIterable(urls), (url) => ({ url })))),
        { startImmediately: true }
      )
      yield* TestClock.adjust(1)
      const tree = yield* Tasks.dump
      assert.include(tree, "fetching: 2 under way, 1 at gates, 0 between attempts")
      assert.include(tree, "fetch http://REDACTED@one.test/?token=REDACTED")
      assert.notInclude(tree, "pass")
      assert.notInclude(tree, "abc")
      yield* Fiber.interrupt(fiber)
      assert.notInclude(yield* Tasks.dump, "fetch")
    }).pipe(
      Effect.provideService(FetchPolicy.FetchPolicy, FetchPolicy.make({ perHost: 2 })),
      provide(script),
      leakFree
    )
  })
})

describe("secrets", () => {
  it.effect("go to the server and not into the outcome", () => {
    const script = ScriptedClient.make(() => ({ status: 403 }))
    return Effect.gen(function*() {
      const fetcher = yield* Fetcher
      const outcome = yield* fetcher.outcome({ url: "http://us%40er:pass@one.test/?token=abc" })
      assert.strictEqual(script.sent[0]?.request.headers["authorization"], `Basic ${btoa("us@er:pass")}`)
      assert.notMatch(JSON.stringify(outcome), /pass|abc/)
    }).pipe(provide(script), leakFree)
  })
})

describe("what a frontier is told of hosts", () => {
  it.effect("a block comes with the outcome, and is kept when it comes back with the targets", () => {
    const script = ScriptedClient.make((n) => n === 0 ? { status: 429, headers: { "retry-after": "300" } } : {})
    return Effect.gen(function*() {
      const fetcher = yield* Fetcher
      const [first] = yield* Stream.runCollect(fetcher.fetchSource(sourceOf(["http://one.test/1"])))
      assert.strictEqual(first?.outcome.error?._tag, "RetryAfterTooLong")
      assert.strictEqual(first?.host?.blockedUntilMillis, 300_000)
      assert.strictEqual(first?.host?.host, "one.test")

      // Another process, a little later: nothing is sent before the time.
      const hosts = first?.host === undefined ? [] : [first.host]
      yield* TestClock.adjust("270 seconds")
      const other = yield* Effect.forkChild(
        Stream.runCollect(fetcher.fetchSource(sourceOf(["http://one.test/2"], hosts))).pipe(
          Effect.provide(Layer.fresh(Layer.provide(HttpFetcher.layer, script.layer)))
        ),
        { startImmediately: true }
      )
      yield* TestClock.adjust("29 seconds")
      assert.lengthOf(script.sent, 1)
      yield* TestClock.adjust("1 second")
      const [second] = yield* Fiber.join(other)
      assert.isTrue(second?.outcome.ok)
    }).pipe(provide(script), leakFree)
  })

  it.effect("a host whose block is longer than the patience is not asked for its other URLs either", () => {
    const script = ScriptedClient.make(() => ({ status: 503, headers: { "retry-after": "3600" } }))
    return Effect.gen(function*() {
      const fetcher = yield* Fetcher
      const urls = Array.from({ length: 50 }, (_, n) => `http://one.test/${n}`)
      const ends = yield* Stream.runCollect(fetcher.fetchSource(sourceOf(urls)))
      assert.lengthOf(script.sent, 1)
      assert.lengthOf(ends, 50)
      assert.isTrue(ends.every(({ outcome }) => outcome.error?._tag === "RetryAfterTooLong"))
    }).pipe(
      Effect.provideService(
        FetchPolicy.FetchPolicy,
        FetchPolicy.make({ perHost: 1, retry: { patience: Duration.minutes(1) } })
      ),
      provide(script),
      leakFree
    )
  })
})
