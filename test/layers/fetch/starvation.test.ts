/**
 * Hosts that can do nothing (shut, full, silent, without their robots.txt) beside hosts that can: those go on as if the others were not there.
 */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Layer, Result, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as HttpFetcher from "../../../src/layers/fetch/HttpFetcher.ts"
import * as MemoryFrontier from "../../../src/layers/fetch/MemoryFrontier.ts"
import { Fetcher } from "../../../src/services/fetch/Fetcher.ts"
import type { FetchOutcome } from "../../../src/services/fetch/FetchOutcome.ts"
import * as FetchPolicy from "../../../src/services/fetch/FetchPolicy.ts"
import { parseTarget } from "../../../src/services/fetch/FetchRequest.ts"
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
