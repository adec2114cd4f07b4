import { assert, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { BoundedMap } from "../../../src/services/tasks/BoundedMap.ts"

const key = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 9 }))
const Step = Schema.Struct({ key, does: Schema.Literals(["set", "set", "delete"]) })

it.effect.prop(
  "BoundedMap holds what was set last, so many keys at most, and forgets the one set longest ago",
  { steps: Schema.Array(Step), capacity: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 6 })) },
  ({ capacity, steps }) =>
    Effect.sync(() => {
      const map = new BoundedMap<number, number>(capacity)
      let model: ReadonlyArray<readonly [number, number]> = []
      for (const [at, { does, key }] of steps.entries()) {
        const others = model.filter(([other]) => other !== key)
        if (does === "delete") assert.strictEqual(map.delete(key), others.length < model.length)
        else map.set(key, at)
        model = does === "delete" ? others : [...others, [key, at] as const].slice(-capacity)
        for (let each = 0; each < 10; each++) {
          const expected = model.find(([other]) => other === each)?.[1]
          assert.strictEqual(map.get(each), expected)
          assert.strictEqual(map.has(each), expected !== undefined)
        }
      }
    }),
  { arbitrary: { runs: 300 } }
)
