/** Operation sweeps: whoever is interrupted while an order is accepted or followed, at whatever step, leaves nothing behind. */
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Result } from "effect"
import * as AcceptQueue from "../../../src/layers/orders/AcceptQueue.ts"
import * as OrderWatch from "../../../src/layers/orders/OrderWatch.ts"
import * as Pricing from "../../../src/services/orders/Pricing.ts"
import { sweep } from "../../support/sweep.ts"

const request = { customerId: "a", items: [{ sku: "x", quantity: 1 }] }

it.live("an interrupted accept leaves its key free as soon as its flush is over", () =>
  Effect.gen(function*() {
    const queue = yield* AcceptQueue.make((placements) =>
      Effect.as(
        Effect.yieldNow,
        placements.map(({ key }) =>
          Exit.succeed({
            value: Result.getOrThrow(Pricing.place(key, request, {
              currencyOf: () => "EUR",
              product: () => ({ price: 1n, currency: "EUR", seller: "s", isShipped: false })
            }, new Date(0))),
            isReplayed: false
          })
        )
      ), {})
    const hits = yield* sweep(Effect.succeed({
      victim: queue.accept("key", request),
      check: (at: string) =>
        Effect.gen(function*() {
          for (let turn = 0; turn < 20 && queue.inFlight() > 0; turn++) yield* Effect.yieldNow
          assert.strictEqual(queue.inFlight(), 0, at)
        })
    }))
    assert.isAbove(hits, 20)
  }))

it.live("an interrupted follower is forgotten", () =>
  Effect.gen(function*() {
    const watch = yield* OrderWatch.make({ look: () => Effect.succeed([]), everyMillis: 1000, maxIds: 10 })
    const hits = yield* sweep(Effect.succeed({
      victim: watch.changed("id", 1),
      check: (at: string) => Effect.sync(() => assert.strictEqual(watch.followers(), 0, at))
    }))
    assert.isAbove(hits, 20)
  }))
