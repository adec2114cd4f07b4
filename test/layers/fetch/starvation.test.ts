/**
 * Hosts that can do nothing (shut, full, silent, without their robots.txt) beside hosts that can: those go on as if the
 * others were not there.
 */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Exit, Fiber, Layer, Result, Stream } from "effect"
import * as HttpClient from "effect/http/HttpClient"
import { TestClock } from "effect/testing"
import * as HttpFetcher from "../../../src/layers/fetch/HttpFetcher.ts"
import * as MemoryFrontier from "../../../src/layers/fetch/MemoryFrontier.ts"
import { Fetcher } from "../../../src/services/fetch/Fetcher.ts"
import type { FetchOutcome } from "../../../src/services/fetch/FetchOutcome.ts"
import * as FetchPolicy from "../../../src/services/fetch/FetchPolicy.ts"
import { parseTarget } from "../../../src/services/fetch/FetchRequest.ts"
import type { FetchSource } from "../../../src/services/fetch/FetchSource.ts"
import { Frontier } from "../../../src/services/fetch/Frontier.ts"
import * as ScriptedClient from "../../support/fetch/ScriptedClient.ts"
import { leakFree } from "../../support/leakFree.ts"

const shutPages = 10_000
const openPages = 100

const pages = (host: string, count: number) =>
  Array.from({ length: count }, (_, n) => ({ url: `http://${host}.test/${n}` }))

/** The first host's pages, and behind them the second's. */
const list = [...pages("shut", shutPages), ...pages("open", openPages)]

type Answers = (url: string, atMillis: number) => ScriptedClient.Reply

/** Ways for the first host to do nothing for a minute. */
const troubles: Record<string, Answers> = {
  "has asked for a minute (Retry-After)": (_, atMillis) =>
    atMillis < 60_000 ? { status: 503, headers: { "retry-after": String(60 - Math.floor(atMillis / 1000)) } } : {},
  "refuses without a word": (_, atMillis) => atMillis < 60_000 ? { status: 503 } : {},
  "refuses connections": (_, atMillis) => atMillis < 60_000 ? { code: "ECONNREFUSED" } : {},
  "takes a minute for each page": () => ({ delay: 60_000 }),
  "does not give its robots.txt": (url, atMillis) =>
    url.endsWith("/robots.txt") ? { delay: Math.max(0, 60_000 - atMillis), status: 404 } : {}
}

const script = (answer: Answers): ScriptedClient.Script => {
  const made = ScriptedClient.make((n, { url }) => {
    if (!url.includes("open.test")) return answer(url, made.sent[n]?.atMillis ?? 0)
    return url.endsWith("/robots.txt") ? { status: 404 } : { delay: 10 }
  })
  return made
}

const requestsOf = Effect.map(Fetcher, (fetcher) => fetcher.fetchAll(Stream.fromIterable(list)))

/** The second host's pages are found when the first's are under way. */
const frontierOf = Effect.gen(function*() {
  const fetcher = yield* Fetcher
  const frontier = yield* Frontier
  const run = yield* frontier.open("run", {})
  const add = (host: string, count: number) =>
    run.add(pages(host, count).map((request) => Result.getOrThrow(parseTarget(request))))
  yield* add("shut", shutPages)
  yield* Effect.forkScoped(
    Effect.delay(Effect.andThen(add("open", openPages), run.seal), Duration.millis(500))
  )
  return Stream.mapEffect(
    fetcher.fetchSource(run.source),
    (fetched) => Effect.as(run.settle([fetched]), fetched.outcome)
  )
})

const isOpen = ({ url }: FetchOutcome) => url.includes("open.test")

describe("ten thousand pages of a host that does nothing for a minute, and a hundred of another behind them", () => {
  for (const [name, answer] of Object.entries(troubles)) {
    for (const [kind, stream] of [["a stream", requestsOf], ["a frontier", frontierOf]] as const) {
      it.effect(`${name}: the hundred of ${kind} are fetched within two seconds`, () => {
        const client = script(answer)
        return Effect.gen(function*() {
          const ends: Array<{ readonly atMillis: number; readonly outcome: FetchOutcome }> = []
          const outcomes = yield* stream
          yield* Effect.forkScoped(
            Stream.runForEach(outcomes, (outcome) =>
              Effect.map(Clock.currentTimeMillis, (atMillis) => {
                ends.push({ atMillis, outcome })
              }))
          )
          yield* TestClock.adjust("2 seconds")
          assert.strictEqual(ends.filter(({ outcome }) => isOpen(outcome) && outcome.ok).length, openPages)
          assert.isAtMost(client.sent.length, openPages + 100, "and the other is asked no more than it would be alone")
        }).pipe(
          Effect.scoped,
          Effect.provideService(
            FetchPolicy.FetchPolicy,
            FetchPolicy.make({
              robots: name.includes("robots"),
              timeouts: { headers: Duration.minutes(2), attempt: Duration.minutes(2) },
              retry: { patience: Duration.minutes(2) }
            })
          ),
          Effect.provide(Layer.merge(Layer.provide(HttpFetcher.layer, client.layer), MemoryFrontier.layer)),
          leakFree
        )
      })
    }
  }
})

it.effect("no more than sixteen thousand targets wait, however many a source has that cannot choose", () => {
  const client = script(() => ({ status: 503, headers: { "retry-after": "60" } }))
  let given = 0
  const source: FetchSource = {
    pull: ({ limit }) =>
      Effect.sync(() => {
        const from = given
        given += limit
        const targets = Array.from({ length: limit }, (_, n) =>
          Result.getOrThrow(parseTarget({ url: `http://shut.test/${from + n}` })))
        return { _tag: "Targets", targets }
      })
  }
  return Effect.gen(function*() {
    const fetcher = yield* Fetcher
    yield* Effect.forkScoped(Stream.runDrain(fetcher.fetchSource(source)))
    yield* TestClock.adjust("10 seconds")
    assert.strictEqual(given, 16_384)
  }).pipe(
    Effect.scoped,
    Effect.provideService(
      FetchPolicy.FetchPolicy,
      FetchPolicy.make({ perHost: 1, retry: { patience: Duration.minutes(2) } })
    ),
    Effect.provide(Layer.provide(HttpFetcher.layer, client.layer)),
    leakFree
  )
})

it.effect("a host that has opened is asked for again, also when nothing of it waits here", () => {
  const client = ScriptedClient.make((_, { url }) => ({ delay: url.includes("slow.test") ? 60_000 : 10 }))
  const left = ["http://slow.test/", ...pages("shut", 20).map(({ url }) => url)].map((url) =>
    Result.getOrThrow(parseTarget({ url }))
  )
  // One at a time, of a host that is not closed; nothing but an opened host ends its wait.
  const source: FetchSource = {
    pull: ({ closedHosts }) =>
      Effect.sync(() => {
        const [next] = left
        if (next === undefined) return { _tag: "Done" }
        if (closedHosts.has(next.host)) return { _tag: "Wait", wake: Effect.never }
        left.shift()
        return { _tag: "Targets", targets: [next] }
      })
  }
  return Effect.gen(function*() {
    const fetcher = yield* Fetcher
    const ended: Array<string> = []
    yield* Effect.forkScoped(Stream.runForEach(fetcher.fetchSource(source), ({ target }) =>
      Effect.sync(() => {
        ended.push(target.host)
      })))
    yield* TestClock.adjust("1 second")
    assert.deepStrictEqual(ended, Array.from({ length: 20 }, () => "shut.test"))
  }).pipe(
    Effect.scoped,
    Effect.provideService(FetchPolicy.FetchPolicy, FetchPolicy.make({ perHost: 1 })),
    Effect.provide(Layer.provide(HttpFetcher.layer, client.layer)),
    leakFree
  )
})

it.effect("a client that dies of a robots.txt ends the stream, with why", () => {
  const dying = HttpClient.make(() => Effect.die("a bug"))
  return Effect.gen(function*() {
    const fetcher = yield* Fetcher
    const exit = yield* Effect.exit(Stream.runDrain(fetcher.fetchAll(Stream.fromIterable(pages("shut", 3)))))
    assert.deepStrictEqual(exit, Exit.die("a bug"))
  }).pipe(
    Effect.provideService(FetchPolicy.FetchPolicy, FetchPolicy.make({ robots: true })),
    Effect.provide(Layer.provide(HttpFetcher.layer, Layer.succeed(HttpClient.HttpClient)(dying))),
    leakFree
  )
})

it.effect("a robots.txt whose run is left before it has come is asked for by the next run", () => {
  const client = script((_, atMillis) => atMillis < 1000 ? { silent: true } : { status: 404 })
  const fetchPages = Effect.flatMap(
    Fetcher,
    (fetcher) => Stream.runCollect(fetcher.fetchAll(Stream.fromIterable(pages("shut", 3))))
  )
  return Effect.gen(function*() {
    const left = yield* Effect.forkChild(fetchPages, { startImmediately: true })
    yield* TestClock.adjust("500 millis")
    // It waits for the robots.txt of the first.
    const waiting = yield* Effect.forkChild(fetchPages, { startImmediately: true })
    yield* TestClock.adjust("500 millis")
    assert.deepStrictEqual(client.sent.map(({ request }) => request.url), ["http://shut.test/robots.txt"])
    yield* Fiber.interrupt(left)
    yield* TestClock.adjust("1 second")
    assert.lengthOf(yield* Effect.fromNullishOr(waiting.pollUnsafe()).pipe(Effect.flatten), 3)
    assert.lengthOf(yield* fetchPages, 3, "and it is known from then on")
    assert.lengthOf(client.sent.filter(({ request }) => request.url.endsWith("/robots.txt")), 2)
  }).pipe(
    Effect.provideService(FetchPolicy.FetchPolicy, FetchPolicy.make({ robots: true })),
    Effect.provide(Layer.provide(HttpFetcher.layer, client.layer)),
    leakFree
  )
})
