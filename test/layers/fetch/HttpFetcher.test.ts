/**
 * What the fetcher does with time, chance and replies: on the test clock, over a client that plays a script.
 */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Layer, Queue, Random, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as zlib from "node:zlib"
import * as HttpFetcher from "../../../src/layers/fetch/HttpFetcher.ts"
import { Fetcher } from "../../../src/services/fetch/Fetcher.ts"
import * as FetchPolicy from "../../../src/services/fetch/FetchPolicy.ts"
import type { FetchRequest } from "../../../src/services/fetch/FetchRequest.ts"
import * as ScriptedClient from "../../support/fetch/ScriptedClient.ts"
import { leakFree } from "../../support/leakFree.ts"

const url = "http://one.test/thing"

/** Chance that is always this. */
const chance = (value: number) =>
  Layer.succeed(Random.Random)({ nextIntUnsafe: () => 0, nextDoubleUnsafe: () => value })

const provide = (script: ScriptedClient.Script, value = 0.5) =>
  Effect.provide(HttpFetcher.layer.pipe(Layer.provide(script.layer), Layer.provide(chance(value))))

const withPolicy = (...inputs: ReadonlyArray<FetchPolicy.FetchPolicyInput>) =>
  Effect.provideService(FetchPolicy.FetchPolicy, FetchPolicy.make(...inputs))

/** Runs one request to its outcome while the clock runs as far as it has to. */
const outcomeOf = (request: FetchRequest, adjust: number | string = "1 hour") =>
  Effect.gen(function*() {
    const fetcher = yield* Fetcher
    const fiber = yield* Effect.forkChild(fetcher.outcome(request), { startImmediately: true })
    yield* TestClock.adjust(adjust as "1 hour")
    return yield* Fiber.join(fiber)
  })

const times = (script: ScriptedClient.Script) => script.sent.map((each) => each.atMillis)

describe("retries", () => {
  it.effect("a fault is retried after full jitter of a doubling step, until it succeeds", () => {
    const script = ScriptedClient.make((n) => n < 3 ? { code: "ECONNRESET" } : { body: "ok" })
    return Effect.gen(function*() {
      const outcome = yield* outcomeOf({ url })
      assert.isTrue(outcome.ok)
      assert.strictEqual(outcome.attempts, 4)
      assert.strictEqual(outcome.bytes, 2)
      assert.strictEqual(outcome.sha256, "2689367b205c16ce32ed4200942b8b8b1e262dfc70d9bc9fbc77c49699a4f1df")
      assert.strictEqual(outcome.durationMs, 125 + 250 + 500)
      assert.deepStrictEqual(times(script), [0, 125, 375, 875])
    }).pipe(provide(script), leakFree)
  })

  it.effect("throttling is retried after equal jitter: never less than half of the step", () => {
    const script = ScriptedClient.make((n) => n < 2 ? { status: 429 } : {})
    return Effect.gen(function*() {
      yield* outcomeOf({ url })
      assert.deepStrictEqual(times(script), [0, 125, 375])
    }).pipe(provide(script, 0), leakFree)
  })

  it.effect("the last error is the outcome when the retries are spent", () => {
    const script = ScriptedClient.make(() => ({ status: 500, body: "sorry" }))
    return Effect.gen(function*() {
      const outcome = yield* outcomeOf({ url })
      assert.strictEqual(outcome.attempts, 4)
      assert.strictEqual(outcome.status, 500)
      assert.deepStrictEqual(outcome.error, { _tag: "StatusError", message: "status 500", url, status: 500 })
    }).pipe(provide(script), leakFree)
  })

  it.effect("a method that is not idempotent is sent once, unless told otherwise", () => {
    const script = ScriptedClient.make(() => ({ status: 503 }))
    return Effect.gen(function*() {
      const once = yield* outcomeOf({ url, method: "POST", body: "x" })
      assert.strictEqual(once.attempts, 1)
      const often = yield* outcomeOf({ url, method: "POST", body: "x" }).pipe(
        withPolicy({ retry: { unsafeMethods: true } })
      )
      assert.strictEqual(often.attempts, 4)
    }).pipe(provide(script), leakFree)
  })

  it.effect("statuses that will not change are not retried", () => {
    const script = ScriptedClient.make(() => ({ status: 404 }))
    return Effect.gen(function*() {
      const outcome = yield* outcomeOf({ url })
      assert.strictEqual(outcome.attempts, 1)
      assert.strictEqual(outcome.error?._tag, "StatusError")
    }).pipe(provide(script), leakFree)
  })

  it.effect("a status is retried that the policy names: as a fault, at the host's pace", () => {
    const script = ScriptedClient.make((n) => n === 0 ? { status: 404 } : n === 1 ? { status: 418 } : { status: 410 })
    return Effect.gen(function*() {
      const statuses = [{ least: 404, most: 404 }, { least: 411, most: 499 }]
      const outcome = yield* outcomeOf({ url }).pipe(withPolicy({ retry: { statuses } }))
      assert.deepStrictEqual([outcome.attempts, outcome.status], [3, 410])
      assert.deepStrictEqual(times(script), [0, 125, 375])
    }).pipe(provide(script), leakFree)
  })

  it.effect("no wait is begun that the deadline of the whole would cut off", () => {
    const script = ScriptedClient.make(() => ({ status: 500 }))
    return Effect.gen(function*() {
      const outcome = yield* outcomeOf({ url }).pipe(withPolicy({ timeouts: { total: 300 as never } }))
      assert.strictEqual(outcome.attempts, 2)
      assert.strictEqual(outcome.error?._tag, "StatusError")
    }).pipe(provide(script), leakFree)
  })
})

describe("Retry-After", () => {
  it.effect("seconds are a floor under the wait", () => {
    const script = ScriptedClient.make((n) => n === 0 ? { status: 503, headers: { "retry-after": "7" } } : {})
    return Effect.gen(function*() {
      yield* outcomeOf({ url })
      assert.deepStrictEqual(times(script), [0, 7000])
    }).pipe(provide(script), leakFree)
  })

  it.effect("an HTTP-date is one too; a past one asks for nothing", () => {
    const script = ScriptedClient.make((n) =>
      n === 0
        ? { status: 429, headers: { "retry-after": "Thu, 01 Jan 1970 00:00:09 GMT" } }
        : n === 1
        ? { status: 429, headers: { "retry-after": "Thu, 01 Jan 1970 00:00:01 GMT" } }
        : {}
    )
    return Effect.gen(function*() {
      yield* outcomeOf({ url })
      assert.deepStrictEqual(times(script), [0, 9000, 9375])
    }).pipe(provide(script), leakFree)
  })

  it.effect("longer than the patience ends the fetch, and says when to come back", () => {
    const script = ScriptedClient.make(() => ({ status: 503, headers: { "retry-after": "3600" } }))
    return Effect.gen(function*() {
      const outcome = yield* outcomeOf({ url })
      assert.deepStrictEqual(outcome.error, {
        _tag: "RetryAfterTooLong",
        message: "status 503, may be asked again at 1970-01-01T01:00:00.000Z",
        url,
        status: 503,
        retryAfterMillis: 3_600_000,
        retryAt: "1970-01-01T01:00:00.000Z"
      })
      assert.strictEqual(outcome.attempts, 1)
    }).pipe(provide(script), leakFree)
  })

  it.effect("holds back every other request to that host, and to no other", () => {
    const script = ScriptedClient.make((n) => n === 0 ? { status: 503, headers: { "retry-after": "5" } } : {})
    return Effect.gen(function*() {
      const fetcher = yield* Fetcher
      const urls = ["http://one.test/1", "http://one.test/2", "http://two.test/3"]
      const fiber = yield* Effect.forkChild(
        Stream.runCollect(fetcher.fetchAll(Stream.map(Stream.fromIterable(urls), (url) => ({ url })))),
        { startImmediately: true }
      )
      yield* TestClock.adjust("1 hour")
      const outcomes = yield* Fiber.join(fiber)
      assert.isTrue(outcomes.every((each) => each.ok))
      const sent = script.sent.map((each) => [each.atMillis, each.request.url])
      assert.deepStrictEqual(sent, [[0, urls[0]], [0, urls[2]], [5000, urls[0]], [5000, urls[1]]])
    }).pipe(withPolicy({ perHost: 1 }), provide(script), leakFree)
  })
})

describe("deadlines, each with its own tag", () => {
  const only = (timeouts: Partial<Record<keyof FetchPolicy.FetchTimeouts, number>>) =>
    withPolicy({ retry: { times: 0 }, timeouts: timeouts as never })

  it.effect("no head within connect and headers: HeadersTimeout", () => {
    const script = ScriptedClient.make(() => ({ silent: true }))
    return Effect.gen(function*() {
      const outcome = yield* outcomeOf({ url })
      assert.deepStrictEqual(outcome.error, {
        _tag: "HeadersTimeout",
        message: "no response headers within 300 ms",
        url,
        limitMillis: 300,
        bytesReceived: 0
      })
      assert.strictEqual(outcome.durationMs, 300)
      assert.strictEqual(script.inFlight, 0)
    }).pipe(only({ connect: 100, headers: 200 }), provide(script), leakFree)
  })

  it.effect("a body that stands still: IdleTimeout, and one that keeps coming is left alone", () => {
    const script = ScriptedClient.make((n) => ({
      pieces: n === 0
        ? [{ afterMillis: 90, text: "ab" }, { afterMillis: 90, text: "cd" }, { afterMillis: 101, text: "ef" }]
        : [{ afterMillis: 90, text: "ab" }, { afterMillis: 90, text: "cd" }, { afterMillis: 90, text: "ef" }]
    }))
    return Effect.gen(function*() {
      const stalled = yield* outcomeOf({ url })
      assert.strictEqual(stalled.error?._tag, "IdleTimeout")
      assert.strictEqual(stalled.error?.["bytesReceived"], 4)
      assert.strictEqual(stalled.durationMs, 280)
      const fine = yield* outcomeOf({ url })
      assert.strictEqual(fine.bytes, 6)
    }).pipe(only({ idle: 100 }), provide(script), leakFree)
  })

  it.effect("an attempt that is never still but never done: AttemptTimeout", () => {
    const script = ScriptedClient.make(() => ({
      pieces: Array.from({ length: 100 }, () => ({ afterMillis: 50, text: "x" }))
    }))
    return Effect.gen(function*() {
      const outcome = yield* outcomeOf({ url })
      assert.strictEqual(outcome.error?._tag, "AttemptTimeout")
      assert.strictEqual(outcome.durationMs, 1000)
    }).pipe(only({ attempt: 1000 }), provide(script), leakFree)
  })

  it.effect("the whole, in the middle of an attempt: TotalTimeout", () => {
    const script = ScriptedClient.make((n) => n === 0 ? { code: "ECONNRESET" } : { silent: true })
    return Effect.gen(function*() {
      const outcome = yield* outcomeOf({ url })
      assert.strictEqual(outcome.error?._tag, "TotalTimeout")
      assert.strictEqual(outcome.durationMs, 2000)
      assert.strictEqual(outcome.attempts, 2)
    }).pipe(withPolicy({ timeouts: { total: 2000 as never } }), provide(script), leakFree)
  })
})

describe("limits", () => {
  const many = (count: number, host: (n: number) => string = () => "one.test") =>
    Stream.map(Stream.range(0, count - 1), (n): FetchRequest => ({ url: `http://${host(n)}/${n}` }))

  const runAll = (requests: Stream.Stream<FetchRequest>) =>
    Effect.gen(function*() {
      const fetcher = yield* Fetcher
      const fiber = yield* Effect.forkChild(Stream.runCollect(fetcher.fetchAll(requests)), { startImmediately: true })
      yield* TestClock.adjust("1 hour")
      return yield* Fiber.join(fiber)
    })

  it.effect("concurrency in all and per host", () => {
    const script = ScriptedClient.make(() => ({ delay: 1000 }))
    return Effect.gen(function*() {
      const outcomes = yield* runAll(many(30, (n) => n < 20 ? "one.test" : `host-${n}.test`))
      assert.lengthOf(outcomes, 30)
      assert.strictEqual(script.inFlightMax, 10)
      const starts = (atMillis: number, host: string) =>
        script.sent.filter((each) => each.atMillis === atMillis && each.request.url.includes(host)).length
      // Hosts take turns: none waits because another has more to do.
      assert.deepStrictEqual([0, 1000, 2000, 3000, 4000, 5000].map((at) => starts(at, "one.test")), [1, 4, 4, 4, 4, 3])
      assert.deepStrictEqual([0, 1000].map((at) => starts(at, "host-")), [9, 1])
    }).pipe(withPolicy({ concurrency: 10, perHost: 4 }), provide(script), leakFree)
  })

  it.effect("rate per host and in all", () => {
    const script = ScriptedClient.make(() => ({}))
    return Effect.gen(function*() {
      yield* runAll(many(10)).pipe(withPolicy({ perHostRatePerSecond: 4 }))
      assert.deepStrictEqual(times(script), Array.from({ length: 10 }, (_, n) => n * 250))
      script.sent.length = 0
      const from = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
      yield* runAll(many(10, (n) => `host-${n}.test`)).pipe(withPolicy({ ratePerSecond: 2 }))
      assert.deepStrictEqual(times(script), Array.from({ length: 10 }, (_, n) => from + n * 500))
    }).pipe(provide(script), leakFree)
  })

  it.effect("a host that is shut does not hold up the others in the window", () => {
    const script = ScriptedClient.make((_, request) => ({ delay: request.url.includes("one.test") ? 10_000 : 10 }))
    return Effect.gen(function*() {
      const outcomes = yield* runAll(many(40, (n) => n % 2 === 0 ? "one.test" : "two.test"))
      assert.isTrue(outcomes.slice(0, 20).every((each) => each.url.includes("two.test")))
    }).pipe(withPolicy({ concurrency: 4, perHost: 2 }), provide(script), leakFree)
  })

  it.effect("a few URLs that stay silent do not shut the host for the others, nor for each other", () => {
    // One in ten is silent: at the end only their retries are left, one failure after the other.
    const script = ScriptedClient.make((_, request) => ({ silent: request.url.endsWith("0") }))
    return Effect.gen(function*() {
      const outcomes = yield* runAll(many(100))
      const tags = outcomes.map((each) => each.error?._tag ?? "ok").toSorted()
      assert.deepStrictEqual([...new Set(tags)], ["HeadersTimeout", "ok"])
      assert.strictEqual(tags.indexOf("ok"), 10)
      assert.isTrue(outcomes.every((each) => each.attempts === (each.ok ? 1 : 4)))
    }).pipe(withPolicy({ timeouts: { headers: Duration.seconds(1) } }), provide(script), leakFree)
  })

  it.effect("leaving early interrupts what is in flight and pulls no more of the input", () => {
    const script = ScriptedClient.make((n) => n < 5 ? {} : { silent: true })
    return Effect.gen(function*() {
      const fetcher = yield* Fetcher
      let pulled = 0
      const requests = Stream.tap(Stream.rechunk(many(100_000), 1), () => Effect.sync(() => pulled++))
      const first = yield* Stream.runCollect(Stream.take(fetcher.fetchAll(requests), 5))
      assert.lengthOf(first, 5)
      assert.strictEqual(script.inFlight, 0)
      assert.isBelow(pulled, 5000)
    }).pipe(withPolicy({ concurrency: 8 }), provide(script), leakFree)
  })

  it.effect("a consumer that does not take holds back the requests", () => {
    const script = ScriptedClient.make(() => ({}))
    return Effect.gen(function*() {
      const fetcher = yield* Fetcher
      const taken = yield* Queue.unbounded<string>()
      const fiber = yield* Effect.forkChild(Stream.runForEach(
        fetcher.fetchAll(many(10_000)),
        (outcome) => Effect.andThen(Queue.offer(taken, outcome.url), Effect.never)
      ))
      yield* Queue.take(taken)
      yield* TestClock.adjust("1 hour")
      // The first batch is with the consumer, one more waits to be taken.
      assert.isBelow(script.sent.length, 300)
      yield* Fiber.interrupt(fiber)
    }).pipe(withPolicy({ concurrency: 8 }), provide(script), leakFree)
  })

  it.effect("an interrupted fetch ends its request", () => {
    const script = ScriptedClient.make(() => ({ silent: true }))
    return Effect.gen(function*() {
      const fetcher = yield* Fetcher
      const fibers = yield* Effect.forEach(
        [1, 2, 3],
        (n) => Effect.forkChild(fetcher.fetch({ url: `${url}/${n}` }), { startImmediately: true })
      )
      assert.strictEqual(script.inFlight, 2)
      yield* Fiber.interruptAll(fibers)
      assert.strictEqual(script.inFlight, 0)
    }).pipe(withPolicy({ perHost: 2 }), provide(script), leakFree)
  })

  it.effect("requests that are none are outcomes like any other", () => {
    const script = ScriptedClient.make(() => ({}))
    return Effect.gen(function*() {
      const outcomes = yield* runAll(Stream.make({ url: "ftp://x/" }, { url }, { url: "nonsense" }))
      assert.deepStrictEqual(outcomes.map((each) => each.error?._tag ?? "ok").sort(), [
        "InvalidRequest",
        "InvalidRequest",
        "ok"
      ])
    }).pipe(provide(script), leakFree)
  })
})

/** What Effect's own client adds for tracing. */
const traceHeaders = new Set(["b3", "traceparent"])

describe("redirects", () => {
  const moves = (locations: Record<string, [number, string] | undefined>) =>
    ScriptedClient.make((_, request) => {
      const move = locations[request.url]
      return move === undefined ? { body: "here" } : { status: move[0], headers: { location: move[1] } }
    })

  it.effect("are followed, as part of one attempt; the outcome says where they led", () => {
    const script = moves({ [url]: [301, "/b"], "http://one.test/b": [302, "http://two.test/c"] })
    return Effect.gen(function*() {
      const outcome = yield* outcomeOf({ url })
      assert.strictEqual(outcome.finalUrl, "http://two.test/c")
      assert.strictEqual(outcome.attempts, 1)
      assert.isTrue(outcome.ok)
    }).pipe(provide(script), leakFree)
  })

  it.effect("a loop, too many, and a Location that is no http URL are errors of their own", () => {
    const script = moves({
      [url]: [302, "/b"],
      "http://one.test/b": [302, "/thing"],
      "http://one.test/file": [302, "file:///etc/passwd"],
      "http://one.test/1": [302, "/2"],
      "http://one.test/2": [302, "/3"],
      "http://one.test/3": [302, "/4"],
      "http://one.test/4": [302, "/5"]
    })
    return Effect.gen(function*() {
      const problem = (url: string) =>
        Effect.map(outcomeOf({ url }), (each) => [each.error?._tag, each.error?.["problem"]])
      assert.deepStrictEqual(yield* problem(url), ["RedirectError", "loop"])
      assert.deepStrictEqual(yield* problem("http://one.test/file"), ["RedirectError", "location"])
      assert.deepStrictEqual(yield* problem("http://one.test/1"), ["RedirectError", "limit"])
    }).pipe(withPolicy({ maxRedirects: 3 }), provide(script), leakFree)
  })

  for (let length = 1; length <= 6; length++) {
    it.effect(`a loop of ${length} is gone round twice; one that opens the second time is followed`, () => {
      const step = (n: number) => `http://one.test/${n % length}`
      const closed = ScriptedClient.make((n) => ({ status: 302, headers: { location: step(n + 1) } }))
      const opening = ScriptedClient.make((n) =>
        n <= length - 1 ? { status: 302, headers: { location: step(n + 1) } } : { body: "here" }
      )
      return Effect.gen(function*() {
        const outcome = yield* outcomeOf({ url: step(0) })
        assert.deepStrictEqual([outcome.error?._tag, outcome.error?.["problem"]], ["RedirectError", "loop"])
        assert.lengthOf(closed.sent, 2 * length)
      }).pipe(
        withPolicy({ maxRedirects: 20 }),
        provide(closed),
        Effect.andThen(
          Effect.gen(function*() {
            const outcome = yield* outcomeOf({ url: step(0) })
            assert.isTrue(outcome.ok)
            assert.lengthOf(opening.sent, length + 1)
          }).pipe(provide(opening))
        ),
        leakFree
      )
    })
  }

  it.effect("across origins only harmless headers go along; POST becomes GET", () => {
    const script = moves({ [url]: [302, "http://two.test/b"] })
    return Effect.gen(function*() {
      const headers = {
        authorization: "Bearer x",
        "x-api-key": "y",
        cookie: "z",
        accept: "text/plain",
        "content-type": "text/csv"
      }
      yield* outcomeOf({ url, method: "POST", body: "1,2", headers })
      const [first, second] = script.sent
      assert.strictEqual(first?.request.headers["x-api-key"], "y")
      assert.strictEqual(second?.request.method, "GET")
      assert.strictEqual(second?.request.body._tag, "Empty")
      assert.deepStrictEqual(
        Object.keys(second?.request.headers ?? {}).filter((name) => !traceHeaders.has(name)).sort(),
        [
          "accept",
          "accept-encoding",
          "user-agent"
        ]
      )
    }).pipe(provide(script), leakFree)
  })
})

describe("bodies", () => {
  const text = "The quick brown fox. ".repeat(50)
  const encoded = (coding: string, body: Uint8Array) =>
    ScriptedClient.make(() => ({ body: new Uint8Array(body), headers: { "content-encoding": coding } }))
  const plain = new TextEncoder().encode(text)
  const table: ReadonlyArray<readonly [string, (body: Uint8Array) => Uint8Array]> = [
    ["gzip", zlib.gzipSync],
    ["br", zlib.brotliCompressSync],
    ["zstd", zlib.zstdCompressSync],
    ["deflate", zlib.deflateSync],
    ["gzip, br", (body) => zlib.brotliCompressSync(zlib.gzipSync(body))]
  ]
  for (const [coding, encode] of table) {
    it.effect(`${coding} is undone; cut short it is refused`, () => {
      const whole = encode(plain)
      return Effect.gen(function*() {
        const fetcher = yield* Fetcher
        const response = yield* fetcher.fetch({ url })
        assert.strictEqual(new TextDecoder().decode(response.body), text)
        assert.strictEqual(response.outcome.bytes, plain.length)
      }).pipe(
        provide(encoded(coding, whole)),
        Effect.andThen(
          Effect.gen(function*() {
            const fetcher = yield* Fetcher
            const error = yield* Effect.flip(fetcher.fetch({ url }))
            assert.strictEqual(error._tag, "TruncatedBody")
          }).pipe(provide(encoded(coding, whole.subarray(0, whole.length - 3))), withPolicy({ retry: { times: 0 } }))
        ),
        leakFree
      )
    })
  }

  it.live("a bomb is refused before it has gone off", () => {
    const bomb = zlib.gzipSync(new Uint8Array(50_000_000))
    return Effect.gen(function*() {
      const fetcher = yield* Fetcher
      const error = yield* Effect.flip(fetcher.fetch({ url }))
      assert.strictEqual(error._tag, "ContentEncodingError")
      const capped = yield* Effect.flip(fetcher.fetch({ url }).pipe(withPolicy({ maxBody: 1_000_000n as never })))
      assert.strictEqual(capped._tag, "BodyTooLarge")
    }).pipe(provide(encoded("gzip", bomb)), leakFree)
  })

  it.effect("a coding that nobody knows, and a chain of four", () =>
    Effect.gen(function*() {
      const outcome = yield* outcomeOf({ url })
      assert.strictEqual(outcome.error?._tag, "ContentEncodingError")
    }).pipe(
      provide(encoded("lzma", plain)),
      Effect.andThen(
        Effect.gen(function*() {
          const outcome = yield* outcomeOf({ url })
          assert.strictEqual(outcome.error?.["problem"], "more than 3 codings")
        }).pipe(provide(encoded("gzip,gzip,gzip,gzip", plain)))
      ),
      leakFree
    ))

  it.effect("a body over the limit is refused, by its length or as it comes", () => {
    const script = ScriptedClient.make((n) =>
      n === 0 ? { body: "12345678901", headers: { "content-length": "11" } } : { body: "12345678901" }
    )
    return Effect.gen(function*() {
      for (const _ of [1, 2]) {
        const outcome = yield* outcomeOf({ url })
        assert.deepStrictEqual(outcome.error?._tag, "BodyTooLarge")
      }
    }).pipe(withPolicy({ maxBody: 10n as never }), provide(script), leakFree)
  })
})
