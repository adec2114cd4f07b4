/**
 * What a run shows of hosts that hold it up: what is on the wire, why nothing starts, how long it waited.
 */
import { assert, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import * as HttpFetcher from "../../../src/layers/fetch/HttpFetcher.ts"
import * as MemoryFrontier from "../../../src/layers/fetch/MemoryFrontier.ts"
import { fetchRun } from "../../../src/programs/fetch/FetchRun.ts"
import * as Inputs from "../../../src/programs/fetch/Inputs.ts"
import * as Outcomes from "../../../src/programs/fetch/Outcomes.ts"
import { RunMeter } from "../../../src/programs/fetch/RunMeter.ts"
import { Fetcher } from "../../../src/services/fetch/Fetcher.ts"
import * as FetchPolicy from "../../../src/services/fetch/FetchPolicy.ts"
import * as ScriptedClient from "../../support/fetch/ScriptedClient.ts"
import { leakFree } from "../../support/leakFree.ts"

const urls = (host: string, count: number) => Array.from({ length: count }, (_, n) => `http://${host}.test/${n}`)

it.effect("a run tells what is on the wire, which host is shut and for how long, and how long it waited", () => {
  const script = ScriptedClient.make((n, { url }) =>
    url.includes("slow.test")
      ? { delay: 20_000 }
      : url.includes("shut.test") && (script.sent[n]?.atMillis ?? 0) < 30_000
      ? { status: 503, headers: { "retry-after": "30" } }
      : {}
  )
  return Effect.gen(function*() {
    const fetcher = yield* Fetcher
    const meter = new RunMeter(0)
    const fiber = yield* Effect.forkChild(fetchRun({
      name: "run",
      inputs: Inputs.fromArguments([...urls("slow", 30), ...urls("shut", 30)]),
      output: Outcomes.none,
      onMalformed: () => Effect.void,
      meter
    }))
    yield* TestClock.adjust("10 seconds")
    const views = new Map((yield* fetcher.hosts).map((view) => [view.host, view]))
    assert.strictEqual(views.get("slow.test")?.inFlight, 16)
    assert.isUndefined(views.get("slow.test")?.block)
    assert.deepStrictEqual([views.get("shut.test")?.inFlight, views.get("shut.test")?.block], [
      0,
      { _tag: "Asked", status: 503, forMillis: 20_000 }
    ])
    assert.deepStrictEqual([meter.taken, meter.inFlight], [60, 16], "what waits is not on the wire")
    assert.strictEqual(meter.waitedMillis, 0, "something is")
    yield* TestClock.adjust("10 minutes")
    const { counts } = yield* Fiber.join(fiber)
    assert.deepStrictEqual([counts.done, meter.inFlight], [60, 0])
    assert.deepStrictEqual(yield* fetcher.hosts, [], "nobody is held up any more")
    assert.strictEqual(meter.waitedMillis, 0)
  }).pipe(
    Effect.scoped,
    Effect.provideService(FetchPolicy.FetchPolicy, FetchPolicy.make({ timeouts: { headers: Duration.minutes(1) } })),
    Effect.provide(Layer.merge(Layer.provide(HttpFetcher.layer, script.layer), MemoryFrontier.layer)),
    leakFree
  )
})

it.effect("a run of one host that asks for half a minute has waited for that long", () => {
  const script = ScriptedClient.make((n) =>
    (script.sent[n]?.atMillis ?? 0) < 30_000 ? { status: 429, headers: { "retry-after": "30" } } : {}
  )
  return Effect.gen(function*() {
    const meter = new RunMeter(0)
    const fiber = yield* Effect.forkChild(fetchRun({
      name: "run",
      inputs: Inputs.fromArguments(urls("shut", 20)),
      output: Outcomes.none,
      onMalformed: () => Effect.void,
      meter
    }))
    yield* TestClock.adjust("10 minutes")
    const { counts } = yield* Fiber.join(fiber)
    assert.strictEqual(counts.done, 20)
    assert.approximately(meter.waitedMillis, 30_000, 500)
  }).pipe(
    Effect.scoped,
    Effect.provide(Layer.merge(Layer.provide(HttpFetcher.layer, script.layer), MemoryFrontier.layer)),
    leakFree
  )
})
