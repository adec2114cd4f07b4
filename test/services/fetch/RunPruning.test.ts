import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import * as MemoryFrontier from "../../../src/layers/fetch/MemoryFrontier.ts"
import { Frontier } from "../../../src/services/fetch/Frontier.ts"
import * as RunPruning from "../../../src/services/fetch/RunPruning.ts"
import { target } from "../../conformance/Frontier.suite.ts"

const begin = Effect.fnUntraced(function*(name: string) {
  const run = yield* (yield* Frontier).open(name)
  yield* run.add([target("http://a.test/")])
})

const names = Effect.flatMap(
  Frontier,
  (frontier) => Effect.map(frontier.runs(), (runs) => runs.map(({ name }) => name))
)

it.effect("removes what nobody has touched for so long, tells of it, and leaves what is open", () =>
  Effect.gen(function*() {
    const removed: Array<string> = []
    const prune = RunPruning.prune("30 days", ({ name }) => Effect.sync(() => void removed.push(name)))
    yield* Effect.scoped(begin("old"))
    yield* begin("open")
    yield* Effect.scoped(begin("touched"))
    yield* TestClock.adjust("29 days")
    assert.strictEqual(yield* prune, 0)
    yield* Effect.scoped(begin("touched"))
    yield* Effect.scoped(begin("young"))
    yield* TestClock.adjust("2 days")
    assert.deepStrictEqual((yield* RunPruning.idle("30 days")).map(({ name }) => name), ["open", "old"])
    assert.strictEqual(yield* prune, 1)
    assert.deepStrictEqual(removed, ["old"])
    assert.deepStrictEqual(yield* names, ["young", "touched", "open"])
  }).pipe(Effect.scoped, Effect.provide(MemoryFrontier.layer)))
