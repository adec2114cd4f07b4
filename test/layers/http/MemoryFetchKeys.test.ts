import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import * as MemoryFetchKeys from "../../../src/layers/http/MemoryFetchKeys.ts"
import { claimSeconds, FetchKeys } from "../../../src/services/http/FetchKeys.ts"
import { suite } from "../../conformance/FetchKeys.suite.ts"
import * as Harness from "../../support/ApiHarness.ts"

// The clock of the suite is real: what its claim would be after a while is shown below.
suite(
  "memory",
  Harness.memory,
  (key) =>
    Effect.flatMap(FetchKeys, (keys) => keys.release({ key, run: "r1", token: "00000000-0000-7000-8000-000000000002" }))
)

it.effect("a claim ends by itself", () =>
  Effect.gen(function*() {
    const keys = yield* FetchKeys
    const first = { key: "k", fingerprint: "f", run: "r1", token: "t1" }
    yield* keys.begin(first)
    yield* TestClock.adjust((claimSeconds - 1) * 1000)
    assert.strictEqual((yield* Effect.flip(keys.begin({ ...first, token: "t2" })))._tag, "KeyInFlight")
    yield* TestClock.adjust(1000)
    assert.strictEqual((yield* keys.begin({ ...first, token: "t2" }))._tag, "Claimed")
  }).pipe(Effect.provide(MemoryFetchKeys.layer)))
