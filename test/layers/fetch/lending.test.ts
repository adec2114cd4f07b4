/**
 * A source whose targets can be lost to another process: nothing is started while that is not known, and nothing of what was lost.
 */
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Result, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as HttpFetcher from "../../../src/layers/fetch/HttpFetcher.ts"
import { Fetcher } from "../../../src/services/fetch/Fetcher.ts"
import * as FetchPolicy from "../../../src/services/fetch/FetchPolicy.ts"
import { type FetchTarget, parseTarget } from "../../../src/services/fetch/FetchRequest.ts"
import type { FetchSource, FetchSupply, LendingChange } from "../../../src/services/fetch/FetchSource.ts"
import * as ScriptedClient from "../../support/fetch/ScriptedClient.ts"
import { leakFree } from "../../support/leakFree.ts"

const targets = (from: number, to: number): ReadonlyArray<FetchTarget> =>
  Array.from({ length: to - from }, (_, n) => Result.getOrThrow(parseTarget({ url: `http://h.test/${from + n}` })))

/** Lends batch after batch, and can be told that it is not sure, and what came of it. */
const lender = (batches: Array<ReadonlyArray<FetchTarget>>) => {
  const listeners = new Set<(change: LendingChange) => void>()
  const state = { isSure: true }
  const source: FetchSource = {
    pull: () =>
      Effect.sync(() => {
        const next = batches.shift()
        return next === undefined ? { _tag: "Done" } : { _tag: "Targets", targets: next }
      }),
    lending: {
      isSure: () => state.isSure,
      listen: (onChange) => {
        listeners.add(onChange)
        return () => void listeners.delete(onChange)
      }
    }
  }
  const tell = (change: LendingChange) =>
    Effect.sync(() => {
      state.isSure = true
      for (const listener of listeners) listener(change)
    })
  const doubt = Effect.sync(() => {
    state.isSure = false
  })
  return { doubt, listeners, source, tell }
}

const policy = FetchPolicy.make({ concurrency: 2, perHost: 2 })

const settled = Effect.andThen(TestClock.adjust(0), Effect.yieldNow)

it.effect("starts nothing while it is not sure, and goes on when it is", () => {
  const script = ScriptedClient.make(() => ({ delay: 10 }))
  const { doubt, listeners, source, tell } = lender([targets(0, 10)])
  return Effect.gen(function*() {
    const fetcher = yield* Fetcher
    const fiber = yield* Effect.forkChild(Stream.runCollect(fetcher.fetchSource(source)), { startImmediately: true })
    yield* settled
    assert.strictEqual(script.sent.length, 2)
    yield* doubt
    yield* TestClock.adjust(10_000)
    assert.deepStrictEqual([script.sent.length, script.inFlight], [2, 0], "what was under way ends")
    yield* tell("sure")
    yield* TestClock.adjust(1000)
    const outcomes = yield* Effect.fromNullishOr(fiber.pollUnsafe()).pipe(Effect.flatten)
    assert.deepStrictEqual(outcomes.map(({ target }) => target.path), targets(0, 10).map(({ path }) => path))
    assert.strictEqual(script.sent.length, 10)
    assert.strictEqual(listeners.size, 0, "nobody listens any more")
  }).pipe(
    Effect.provideService(FetchPolicy.FetchPolicy, policy),
    Effect.provide(Layer.provide(HttpFetcher.layer, script.layer)),
    leakFree
  )
})

it.effect("forgets all that was lost, at gates, between attempts and under way, and takes what is lent next", () => {
  const script = ScriptedClient.make((n) => n === 0 ? { status: 500 } : n < 3 ? { silent: true } : { delay: 10 })
  const { doubt, source, tell } = lender([targets(0, 256), targets(1000, 1010)])
  return Effect.gen(function*() {
    const fetcher = yield* Fetcher
    const fiber = yield* Effect.forkChild(Stream.runCollect(fetcher.fetchSource(source)), { startImmediately: true })
    yield* settled
    assert.strictEqual(script.inFlight, 2)
    yield* doubt
    yield* tell("lost")
    yield* TestClock.adjust(60_000)
    const outcomes = yield* Effect.fromNullishOr(fiber.pollUnsafe()).pipe(Effect.flatten)
    assert.deepStrictEqual(
      outcomes.map(({ target }) => target.path).toSorted(),
      targets(1000, 1010).map(({ path }) => path).toSorted()
    )
    assert.strictEqual(script.inFlight, 0)
    assert.strictEqual(script.sent.length, 13, "three of the lost were sent, none of them again")
  }).pipe(
    Effect.provideService(FetchPolicy.FetchPolicy, policy),
    Effect.provide(Layer.provide(HttpFetcher.layer, script.layer)),
    leakFree
  )
})

it.effect("a host whose calls were all lost while it was shut is asked for again when it opens", () => {
  const script = ScriptedClient.make((n) => n === 0 ? { status: 503, headers: { "retry-after": "5" } } : {})
  const { source, tell } = lender([targets(0, 3)])
  let isNextGiven = false
  const pull: FetchSource["pull"] = ({ closedHosts }) =>
    Effect.suspend((): Effect.Effect<FetchSupply> => {
      if (script.sent.length === 0) return source.pull({ closedHosts, limit: 256 })
      if (closedHosts.has("h.test")) return Effect.succeed({ _tag: "Wait", wake: Effect.never })
      if (isNextGiven) return Effect.succeed({ _tag: "Done" })
      isNextGiven = true
      return Effect.succeed({ _tag: "Targets", targets: targets(9, 10) })
    })
  return Effect.gen(function*() {
    const fetcher = yield* Fetcher
    const fiber = yield* Effect.forkChild(Stream.runCollect(fetcher.fetchSource({ ...source, pull })), {
      startImmediately: true
    })
    yield* TestClock.adjust("1 second")
    yield* tell("lost")
    yield* TestClock.adjust("3 seconds")
    assert.lengthOf(script.sent, 1)
    yield* TestClock.adjust("1 second")
    const outcomes = yield* Effect.fromNullishOr(fiber.pollUnsafe()).pipe(Effect.flatten)
    assert.deepStrictEqual(outcomes.map(({ target }) => target.path), ["/9"])
  }).pipe(
    Effect.provideService(FetchPolicy.FetchPolicy, FetchPolicy.make({ perHost: 1 })),
    Effect.provide(Layer.provide(HttpFetcher.layer, script.layer)),
    leakFree
  )
})
