/** What is too old is taken away at once and then each hour, whatever became of a round, for as long as the layer is open. */
import { assert, it } from "@effect/vitest"
import { Duration, Effect, Exit, Layer, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as RetentionRounds from "../../../src/layers/postgres/RetentionRounds.ts"

it.effect("a round at once and one each hour, also after one that failed or died; none when it is closed", () =>
  Effect.gen(function*() {
    let rounds = 0
    const round = Effect.suspend(() => {
      rounds++
      return rounds === 2 ? Effect.fail("no database") : rounds === 3 ? Effect.die("a bug") : Effect.succeed(rounds)
    })
    const scope = yield* Scope.make()
    yield* Layer.buildWithScope(RetentionRounds.layer({ what: "things", keep: Duration.days(1), round }), scope)
    yield* TestClock.adjust("1 minute")
    assert.strictEqual(rounds, 1)
    yield* TestClock.adjust("58 minutes")
    assert.strictEqual(rounds, 1)
    yield* TestClock.adjust("3 hours")
    assert.strictEqual(rounds, 4)
    yield* Scope.close(scope, Exit.void)
    yield* TestClock.adjust("5 hours")
    assert.strictEqual(rounds, 4)
  }))
