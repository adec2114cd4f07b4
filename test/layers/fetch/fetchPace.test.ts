/**
 * The pace of a host through the whole fetcher: simulated hosts on the test clock, and one over loopback.
 */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Layer, Result, Stream } from "effect"
import * as HttpFetcher from "../../../src/layers/fetch/HttpFetcher.ts"
import { Fetcher } from "../../../src/services/fetch/Fetcher.ts"
import * as FetchPolicy from "../../../src/services/fetch/FetchPolicy.ts"
import { parseTarget } from "../../../src/services/fetch/FetchRequest.ts"
import type { FetchSource } from "../../../src/services/fetch/FetchSource.ts"
import { deferredUntil } from "../../../src/services/fetch/Frontier.ts"
import type { HostState } from "../../../src/services/fetch/HostState.ts"
import * as clockUntil from "../../support/fetch/clockUntil.ts"
import * as ScriptedClient from "../../support/fetch/ScriptedClient.ts"
import { type Manner, SimulatedHost } from "../../support/fetch/SimulatedHost.ts"
import { leakFree } from "../../support/leakFree.ts"
import { fetcher, origin, reply, strict } from "../../support/zoo/Zoo.ts"

/** A client of one simulated host. */
const clientOf = (manner: Manner) => {
  const host = new SimulatedHost(manner)
  const script = ScriptedClient.make((n, { url }) => {
    const { isRefused, millis } = host.answer(new URL(url).pathname, script.sent[n]?.atMillis ?? 0)
    return { status: isRefused ? 503 : 200, delay: millis }
  })
  return { host, script }
}

const provide = (script: ScriptedClient.Script) => Effect.provide(Layer.provide(HttpFetcher.layer, script.layer))

const sourceOf = (pages: number, hosts?: ReadonlyArray<HostState>): FetchSource => {
  let isGiven = false
  return {
    pull: () =>
      Effect.sync(() => {
        if (isGiven) return { _tag: "Done" }
        isGiven = true
        const urls = Array.from({ length: pages }, (_, n) => `http://one.test/${n}`)
        return { _tag: "Targets", targets: urls.map((url) => Result.getOrThrow(parseTarget({ url }))), hosts }
      })
  }
}

/** Fetches so many pages of a host; the clock runs for an hour. */
const fetchAll = (pages: number, manner: Manner, hosts?: ReadonlyArray<HostState>) =>
  Effect.suspend(() => {
    const { host, script } = clientOf(manner)
    return Effect.gen(function*() {
      const f = yield* Fetcher
      const fiber = yield* Effect.forkChild(Stream.runCollect(f.fetchSource(sourceOf(pages, hosts))), {
        startImmediately: true
      })
      const ends = yield* clockUntil.join(fiber)
      const tags = new Map<string, number>()
      for (const { outcome: { error } } of ends) tags.set(error?._tag ?? "ok", (tags.get(error?._tag ?? "ok") ?? 0) + 1)
      return { ends, host, tags, tookMillis: (host.seen.at(-1)?.atMillis ?? 0) - (host.seen[0]?.atMillis ?? 0) }
    }).pipe(provide(script), leakFree)
  })

const nth = (every: number) => (page: string) => Number(page.slice(1)) % every === every - 1 ? 2 : 0

describe("a host of which some pages are refused twice, without a Retry-After", () => {
  it.effect(
    "one page in a hundred: all are fetched, in 1.3 times the time that they take without",
    () =>
      Effect.gen(function*() {
        const clean = yield* fetchAll(2000, { latency: () => 20 })
        const flaky = yield* fetchAll(2000, { latency: () => 20, refusals: nth(100) })
        assert.deepStrictEqual([...flaky.tags], [["ok", 2000]])
        // A page near the end is waited for: its two retries come after three quarters of a second, whatever the length of the list.
        assert.isAtMost(flaky.tookMillis, 1.3 * clean.tookMillis + 750)
        assert.isTrue(flaky.ends.every(({ host }) => host === undefined), "and nothing is held against the host")
      })
  )

  it.effect("fifty of 520: all are fetched, in a few seconds", () =>
    Effect.gen(function*() {
      const { tookMillis, tags } = yield* fetchAll(520, { latency: () => 20, refusals: nth(10) })
      assert.deepStrictEqual([...tags], [["ok", 520]])
      assert.isAtMost(tookMillis, 4000)
    }))
})

it.effect("ten pages of a second each, of a host that nothing is known of, take a second", () =>
  Effect.gen(function*() {
    const { tookMillis, tags } = yield* fetchAll(10, { latency: () => 1000 })
    assert.deepStrictEqual([...tags], [["ok", 10]])
    // From the first that was asked for to the last.
    assert.isBelow(tookMillis, 100)
  }))

describe("a host that refuses everything", () => {
  it.effect("is asked once a second at most; what is not asked ends with our own word, and may be asked again then", () =>
    Effect.gen(function*() {
      const { ends, host, tags } = yield* fetchAll(300, { isDown: () => true })
      for (let from = 1000; from < 200_000; from += 1000) assert.isAtMost(host.between(from, from + 1000).length, 1)
      assert.isAtMost(host.seen.length, 36)
      assert.deepStrictEqual([...tags.keys()].toSorted(), ["HostThrottled", "StatusError"])
      assert.isAtLeast(tags.get("HostThrottled") ?? 0, 280)
      const throttled = ends.find(({ outcome }) => outcome.error?._tag === "HostThrottled")?.outcome
      assert.match(
        throttled?.error?.message ?? "",
        /refuses nearly everything \(status 503\) and does not say for how long/
      )
      assert.isDefined(throttled === undefined ? undefined : deferredUntil(throttled))
    }))

  it.effect("is left to rest by the next process, too", () =>
    Effect.gen(function*() {
      const { ends } = yield* fetchAll(50, { isDown: () => true })
      const state = ends.at(-1)?.host
      assert.isAbove(state?.strikes ?? 0, 4)
      const until = ends.map(({ outcome }) => deferredUntil(outcome) ?? 0)
      assert.approximately(state?.restsUntilMillis ?? 0, Math.max(...until), 1)
      const now = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
      const resting = state === undefined ? [] : [{ ...state, restsUntilMillis: now + 30_000 }]
      const next = yield* fetchAll(50, {}, resting)
      assert.strictEqual(next.host.seen[0]?.atMillis, now + 30_000)
      assert.lengthOf(next.host.between(now + 30_000, now + 30_001), 1, "one to begin with")
      assert.deepStrictEqual([...next.tags], [["ok", 50]])
    }))
})

describe("a host that takes six at once", () => {
  for (const refusalMillis of [1, 50]) {
    it.effect(`and refuses more after ${refusalMillis} ms: is given six, and everything is fetched`, () =>
      Effect.gen(function*() {
        const { host, tags } = yield* fetchAll(2000, { latency: () => 50, refusalMillis, limit: () => 6 })
        assert.deepStrictEqual([...tags], [["ok", 2000]])
        const late = host.between(5000, 1e9)
        assert.isAtMost(Math.max(...late.map(({ busy }) => busy)), 7)
        assert.isAtMost(late.filter(({ isRefused }) => isRefused).length, 0.04 * late.length)
        assert.isAtMost(host.seen.at(-1)?.atMillis ?? 0, 1.2 * 2000 * 50 / 6)
      }))
  }
})

describe("bodies that take long", () => {
  it.effect("are no reason to wait with others: all places are taken within seconds", () =>
    Effect.gen(function*() {
      const { host } = yield* fetchAll(64, { latency: () => 600_000 })
      assert.lengthOf(host.between(0, 4000), 16)
    }).pipe(Effect.provideService(
      FetchPolicy.FetchPolicy,
      FetchPolicy.make({
        timeouts: { headers: Duration.hours(1), attempt: Duration.hours(1), total: Duration.hours(10) }
      })
    )))
})

describe("over loopback", () => {
  it.live("one page in fifty is refused twice: each is asked three times, all others once", () =>
    Effect.gen(function*() {
      const asked = new Map<string, number>()
      let visits = 0
      const server = yield* origin({
        serve: ({ path, send, socket }) => {
          const before = asked.get(path) ?? 0
          asked.set(path, before + 1)
          const isRefused = nth(50)(path) > before
          setTimeout(() => {
            if (socket.writable) send(isRefused ? reply("", "", "503 Service Unavailable") : reply("ok"))
          }, 5)
        }
      }, () => visits++)
      const f = yield* Fetcher
      const outcomes = yield* Stream.runCollect(
        f.fetchAll(Stream.map(Stream.range(0, 999), (n) => ({ url: `${server.url}/${n}` })))
      )
      assert.lengthOf(outcomes.filter(({ ok }) => ok), 1000)
      assert.strictEqual(visits, 1000 + 2 * 20)
      assert.isTrue(outcomes.every(({ attempts, url }) => attempts === 1 + nth(50)(new URL(url).pathname)))
    }).pipe(
      Effect.provideService(
        FetchPolicy.FetchPolicy,
        FetchPolicy.make(strict, {
          retry: { times: 3, base: Duration.millis(100) },
          timeouts: { headers: Duration.seconds(5), attempt: Duration.seconds(10), total: Duration.seconds(60) }
        })
      ),
      Effect.provide(fetcher),
      Effect.scoped,
      leakFree
    ))
})
