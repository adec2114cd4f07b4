/**
 * Which attempts of a call are made, and whose end counts: beside slow ones, after failed ones, after redirects, and when time is over.
 */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Layer, Stream } from "effect"
import * as HttpFetcher from "../../../src/layers/fetch/HttpFetcher.ts"
import { Fetcher } from "../../../src/services/fetch/Fetcher.ts"
import * as FetchPolicy from "../../../src/services/fetch/FetchPolicy.ts"
import type { FetchRequest } from "../../../src/services/fetch/FetchRequest.ts"
import * as clockUntil from "../../support/fetch/clockUntil.ts"
import * as ScriptedClient from "../../support/fetch/ScriptedClient.ts"
import { leakFree } from "../../support/leakFree.ts"

/** Fetches these, and gives what became of them. */
const outcomesOf = (
  script: ScriptedClient.Script,
  requests: ReadonlyArray<FetchRequest>,
  policy: FetchPolicy.FetchPolicyInput
) =>
  Effect.gen(function*() {
    const fetcher = yield* Fetcher
    const fiber = yield* Effect.forkChild(Stream.runCollect(fetcher.fetchAll(Stream.fromIterable(requests))), {
      startImmediately: true
    })
    return yield* clockUntil.join(fiber)
  }).pipe(
    Effect.provideService(FetchPolicy.FetchPolicy, FetchPolicy.make(policy)),
    Effect.provide(Layer.provide(HttpFetcher.layer, script.layer)),
    leakFree
  )

const timesOf = (script: ScriptedClient.Script) => script.sent.map(({ atMillis }) => atMillis)

const hedge = { hedge: { after: Duration.millis(50) } }

const one = [{ url: "http://one.test/" }]

describe("a hedged request", () => {
  it.effect("ends with the second attempt when that answers first; the other is let go of, and tells nothing", () => {
    const script = ScriptedClient.make((n) => n === 0 ? { silent: true } : { delay: 20, body: "second" })
    return Effect.gen(function*() {
      const outcomes = yield* outcomesOf(script, one, hedge)
      assert.deepStrictEqual(outcomes.map(({ attempts, bytes, ok }) => [ok, bytes, attempts]), [[true, 6, 1]])
      assert.deepStrictEqual([timesOf(script), script.inFlight], [[0, 50], 0])
    })
  })

  it.effect("whose first attempt fails while the second is under way is left to the second", () => {
    const script = ScriptedClient.make((n) => n === 0 ? { delay: 100, code: "ECONNRESET" } : { delay: 500 })
    return Effect.gen(function*() {
      const outcomes = yield* outcomesOf(script, one, hedge)
      assert.deepStrictEqual(outcomes.map(({ attempts, durationMs, ok }) => [ok, attempts, durationMs]), [[
        true,
        1,
        550
      ]])
      assert.deepStrictEqual(timesOf(script), [0, 50])
    })
  })

  it.effect("whose attempts both fail is tried again", () => {
    const script = ScriptedClient.make((n) => n < 2 ? { delay: 100, status: 500 } : {})
    return Effect.gen(function*() {
      const outcomes = yield* outcomesOf(script, one, hedge)
      assert.deepStrictEqual(outcomes.map(({ attempts, ok }) => [ok, attempts]), [[true, 2]])
      assert.isAtLeast(timesOf(script)[2] ?? 0, 150)
    })
  })

  it.effect("is a rare one: ten at first, then one for every twenty that succeed", () => {
    const script = ScriptedClient.make(() => ({ delay: 100 }))
    return Effect.gen(function*() {
      const urls = Array.from({ length: 400 }, (_, n) => ({ url: `http://${n}.test/` }))
      const outcomes = yield* outcomesOf(script, urls, hedge)
      assert.isTrue(outcomes.every(({ ok }) => ok))
      assert.isAtLeast(script.sent.length, 400 + 10 + 15)
      assert.isAtMost(script.sent.length, 400 + 10 + 20)
    })
  })

  it.effect("is none that may leave a trace", () => {
    const script = ScriptedClient.make(() => ({ delay: 100 }))
    return Effect.gen(function*() {
      yield* outcomesOf(script, [{ url: "http://one.test/", method: "POST", body: "x" }], hedge)
      assert.deepStrictEqual(timesOf(script), [0])
    })
  })
})

it.effect("a retry that its host's gate holds until the time for the whole is over is not sent", () => {
  const script = ScriptedClient.make((_, { url }) =>
    url.endsWith("/a")
      ? { delay: 50, code: "ECONNRESET" }
      : { delay: 10, status: 503, headers: { "retry-after": "10" } }
  )
  return Effect.gen(function*() {
    const outcomes = yield* outcomesOf(script, [{ url: "http://one.test/a" }, { url: "http://one.test/b" }], {
      timeouts: { total: Duration.seconds(5) }
    })
    assert.deepStrictEqual(outcomes.map(({ error }) => error?._tag), ["StatusError", "TotalTimeout"])
    assert.strictEqual(outcomes[1]?.error?.message, "deadline of 5000 ms passed")
    assert.deepStrictEqual(timesOf(script), [0, 0])
  })
})

it.effect("retries of a host are a hundred, and one more for every five URLs", () => {
  const script = ScriptedClient.make(() => ({ status: 500 }))
  return Effect.gen(function*() {
    const urls = Array.from({ length: 1000 }, (_, n) => ({ url: `http://one.test/${n}` }))
    yield* outcomesOf(script, urls, { retry: { times: 3, budgetPerSecond: 0, budgetRatio: 0.2 } })
    // What is earned while there are a hundred is lost.
    assert.isAtLeast(script.sent.length, 1000 + 100 + 150)
    assert.isAtMost(script.sent.length, 1000 + 100 + 200)
  })
})

it.effect("the time of an attempt goes on over its redirects, and begins anew with a retry", () => {
  const script = ScriptedClient.make((n) =>
    n < 3 ? { delay: 400, status: 302, headers: { location: `/${n}` } } : { delay: 900 }
  )
  return Effect.gen(function*() {
    const outcomes = yield* outcomesOf(script, one, {
      timeouts: { attempt: Duration.seconds(1) },
      retry: { base: Duration.millis(0) }
    })
    assert.deepStrictEqual(timesOf(script), [0, 400, 800, 1000], "and the third is given what is left")
    assert.deepStrictEqual(outcomes.map(({ attempts, ok }) => [ok, attempts]), [[true, 2]])
  })
})
