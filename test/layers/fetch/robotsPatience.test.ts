/**
 * robots.txt that cannot be read for a while, on the test clock: what waits for it, for how long, and what it ends with.
 */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Layer, Result, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as HttpFetcher from "../../../src/layers/fetch/HttpFetcher.ts"
import { Fetcher } from "../../../src/services/fetch/Fetcher.ts"
import * as FetchPolicy from "../../../src/services/fetch/FetchPolicy.ts"
import { parseTarget } from "../../../src/services/fetch/FetchRequest.ts"
import type { FetchSource } from "../../../src/services/fetch/FetchSource.ts"
import { deferredUntil } from "../../../src/services/fetch/Frontier.ts"
import * as clockUntil from "../../support/fetch/clockUntil.ts"
import * as ScriptedClient from "../../support/fetch/ScriptedClient.ts"
import { leakFree } from "../../support/leakFree.ts"

/** A host whose robots.txt is answered by time; its pages, and all of other hosts, are there. */
const host = (robots: (atMillis: number) => ScriptedClient.Reply) => {
  const script = ScriptedClient.make((n, request) => {
    if (!request.url.startsWith("http://one.test/")) {
      return request.url.endsWith("robots.txt")
        ? { status: 404 }
        : { delay: 200 }
    }
    return request.url.endsWith("robots.txt") ? robots(script.sent[n]?.atMillis ?? 0) : { delay: 10 }
  })
  return script
}

const asked = (script: ScriptedClient.Script, path: RegExp) =>
  script.sent.filter(({ request }) => path.test(request.url))

const outcomesOf = (script: ScriptedClient.Script, urls: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const fetcher = yield* Fetcher
    const fiber = yield* Effect.forkChild(
      Stream.runCollect(fetcher.fetchAll(Stream.map(Stream.fromIterable(urls), (url) => ({ url })))),
      { startImmediately: true }
    )
    return yield* clockUntil.join(fiber)
  }).pipe(
    Effect.provideService(FetchPolicy.FetchPolicy, FetchPolicy.make({ robots: true })),
    Effect.provide(Layer.provide(HttpFetcher.layer, script.layer)),
    leakFree
  )

const pages = (count: number) => Array.from({ length: count }, (_, n) => `http://one.test/${n}`)

describe("robots.txt that cannot be read", () => {
  for (
    const [title, reply] of [
      ["answers 500", { status: 500 }],
      ["answers 503", { status: 503 }],
      ["refuses connections", { code: "ECONNREFUSED" }],
      ["does not resolve just now", { code: "EAI_AGAIN" }]
    ] satisfies ReadonlyArray<readonly [string, ScriptedClient.Reply]>
  ) {
    it.effect(`for four seconds (${title}): every page waits, and is fetched`, () =>
      Effect.gen(function*() {
        const script = host((at) => at < 4000 ? reply : { body: "User-agent: *\nDisallow: /7" })
        const outcomes = yield* outcomesOf(script, pages(200))
        const [refused, ...rest] = outcomes.filter(({ ok }) => !ok)
        assert.strictEqual(refused?.error?._tag, "RobotsDisallowed")
        assert.isTrue(rest.every(({ error }) => error?._tag === "RobotsDisallowed"))
        assert.lengthOf(rest, 10, "/7 and /70 to /79")
        assert.isTrue(asked(script, /one\.test\/\d/).every(({ atMillis }) => atMillis >= 4000))
        assert.isAtMost(asked(script, /robots/).length, 20)
      }))
  }

  it.effect("for good: every page ends with why, after the patience and not before, and nothing of it was asked for", () =>
    Effect.gen(function*() {
      const script = host(() => ({ status: 500 }))
      const outcomes = yield* outcomesOf(script, pages(200))
      assert.lengthOf(outcomes, 200)
      for (const outcome of outcomes) {
        assert.strictEqual(outcome.error?._tag, "RobotsUnreachable")
        assert.deepStrictEqual([outcome.error?.["reason"], outcome.error?.["problem"]], ["StatusError", "status 500"])
        // A frontier asks again then.
        assert.isAbove(deferredUntil(outcome) ?? 0, 60_000)
      }
      const last = asked(script, /robots/).at(-1)?.atMillis ?? 0
      assert.isTrue(last > 20_000 && last < 70_000, String(last))
      assert.lengthOf(asked(script, /one\.test\/\d/), 0)
      assert.isAtMost(asked(script, /robots/).length, 40)
    }))

  it.effect("and never will be: every page ends at once, for good, with why", () =>
    Effect.gen(function*() {
      const script = host(() => ({ code: "ENOTFOUND" }))
      const outcomes = yield* outcomesOf(script, pages(20))
      for (const outcome of outcomes) {
        assert.strictEqual(outcome.error?._tag, "RobotsUnreachable")
        assert.strictEqual(outcome.error?.["reason"], "DnsError")
        assert.isUndefined(deferredUntil(outcome))
      }
      assert.lengthOf(script.sent, 1)
    }))

  it.effect("holds up no other host, and its source is told that it is shut", () => {
    const script = host((at) => at < 30_000 ? { status: 502 } : { status: 404 })
    const closed: Array<ReadonlySet<string>> = []
    const others = Array.from(
      { length: 20 },
      (_, batch) => Array.from({ length: 15 }, (_, n) => `http://two.test/${batch}/${n}`)
    )
    const supply = [pages(100), ...others]
    const source: FetchSource = {
      pull: ({ closedHosts }) =>
        Effect.sync(() => {
          closed.push(closedHosts)
          const targets = supply.shift()?.map((url) => Result.getOrThrow(parseTarget({ url })))
          return targets === undefined ? { _tag: "Done" } : { _tag: "Targets", targets }
        })
    }
    return Effect.gen(function*() {
      const fetcher = yield* Fetcher
      const fiber = yield* Effect.forkChild(Stream.runCollect(fetcher.fetchSource(source)), { startImmediately: true })
      const ends = yield* clockUntil.join(fiber)
      assert.lengthOf(ends.filter(({ outcome }) => outcome.ok), 400)
      assert.isTrue(asked(script, /two\.test/).every(({ atMillis }) => atMillis < 10_000))
      assert.isTrue(closed.some((hosts) => hosts.has("one.test")))
    }).pipe(
      Effect.provideService(FetchPolicy.FetchPolicy, FetchPolicy.make({ robots: true, concurrency: 16 })),
      Effect.provide(Layer.provide(HttpFetcher.layer, script.layer)),
      leakFree
    )
  })

  it.effect("whose host asks to be left alone for an hour is left alone, and says until when", () =>
    Effect.gen(function*() {
      const script = host(() => ({ status: 503, headers: { "retry-after": "3600" } }))
      const outcomes = yield* outcomesOf(script, pages(5))
      for (const outcome of outcomes) {
        assert.strictEqual(outcome.error?.["reason"], "RetryAfterTooLong")
        assert.strictEqual(outcome.error?.["retryAt"], "1970-01-01T01:00:00.000Z")
      }
      assert.lengthOf(script.sent, 1)
    }))
})

describe("robots.txt that says nothing to do with it", () => {
  for (const status of [400, 401, 403, 404, 410, 418, 451]) {
    it.effect(`${status} allows everything (RFC 9309 section 2.3.1.3)`, () =>
      Effect.gen(function*() {
        const script = host(() => ({ status }))
        const outcomes = yield* outcomesOf(script, pages(3))
        assert.isTrue(outcomes.every(({ ok }) => ok))
        assert.lengthOf(asked(script, /robots/), 1)
      }))
  }
})

describe("a deadline of the caller's own", () => {
  it.effect("ends the wait for robots.txt", () => {
    const script = host(() => ({ status: 500 }))
    return Effect.gen(function*() {
      const fetcher = yield* Fetcher
      const fiber = yield* Effect.forkChild(
        Effect.timeoutOption(fetcher.outcome({ url: "http://one.test/" }), Duration.seconds(10)),
        { startImmediately: true }
      )
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* Fiber.join(fiber))._tag, "None")
      const sent = script.sent.length
      yield* TestClock.adjust("1 hour")
      assert.isAtMost(script.sent.length - sent, 4, "nobody asks on for nobody")
    }).pipe(
      Effect.provideService(FetchPolicy.FetchPolicy, FetchPolicy.make({ robots: true })),
      Effect.provide(Layer.provide(HttpFetcher.layer, script.layer)),
      leakFree
    )
  })
})
