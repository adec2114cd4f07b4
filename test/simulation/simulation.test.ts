/**
 * Whole worlds from a seed: the real wings over a simulated network and virtual time, killed, frozen, cut off, over a store that is ill.
 * `npm run simulate -- --seed N --scene S --level L --trace` tells the story of one.
 */
import { assert, describe, it } from "@effect/vitest"
import { afterAll, beforeAll } from "vitest"
import { escapes, install } from "./kernel/Escapes.ts"
import { Kernel } from "./kernel/Kernel.ts"
import type { Level } from "./levels/Level.ts"
import { PgliteServer } from "./levels/PgliteServer.ts"
import * as Hunt from "./mutants/Hunt.ts"
import * as SqlMutants from "./mutants/SqlMutants.ts"
import { run } from "./Scene.ts"
import * as Suite from "./Suite.ts"

const isLong = process.env["SLUICE_LONG"] === "1"
/** Thousands of seeds where there is time for them, in batches that are each a test. */
const batches = isLong ? { memory: 40, pglite: 10 } : { memory: 1, pglite: 1 }
const batchSeeds = isLong ? { memory: 25, pglite: 10 } : { memory: 5, pglite: 2 }
const seconds = isLong ? 90 : 30

let server: PgliteServer
let uninstall: () => void

beforeAll(async () => {
  uninstall = install()
  server = await PgliteServer.open(new Kernel(0))
  Suite.prepare(server)
})

afterAll(async () => {
  uninstall()
  await server.close()
})

const levels: Readonly<Record<"memory" | "pglite", () => Level>> = {
  memory: () => Suite.memory,
  pglite: () => Suite.pglite(server)
}

describe("simulation", () => {
  for (const name of ["memory", "pglite"] as const) {
    for (const scene of Suite.scenes) {
      for (let batch = 0; batch < batches[name]; batch++) {
        const first = 1 + batch * batchSeeds[name]
        const last = first + batchSeeds[name] - 1
        it(`${scene.name} on ${name}, seeds ${first} to ${last}: what was promised is kept`, () => {
          for (let seed = first; seed <= last; seed++) {
            const verdict = run(scene, levels[name](), { seed, seconds })
            assert.deepStrictEqual(verdict.wrong, [], `seed ${seed}: ${verdict.strikes.join("; ")}`)
            assert.isAbove(verdict.accepted, 0)
          }
        }, 600_000)
      }

      it(`${scene.name} on ${name}: a seed is played the same way again, whatever was played in between`, () => {
        const hashOf = (seed: number) => run(scene, levels[name](), { seed, seconds: 8 }).hash
        const once = hashOf(1001)
        const other = hashOf(1002)
        assert.strictEqual(hashOf(1001), once)
        assert.notStrictEqual(other, once)
      }, 600_000)
    }
  }

  for (const mutant of SqlMutants.mutants.filter(({ seeds }) => isLong || seeds <= 5)) {
    it(`finds within ${mutant.seeds} seeds: ${mutant.name}`, () => {
      const caught = Hunt.ofSql(server, mutant, 60)
      assert.isDefined(caught.verdict, Hunt.describe(caught))
    }, 600_000)
  }

  it("nothing of ours asks the real world for time or chance", () => {
    assert.deepStrictEqual([...escapes.keys()].filter((place) => / src\//.test(place)), [])
    // The client's prepared statements have random names: what escapes is seen.
    assert.isTrue([...escapes.keys()].some((place) => place.startsWith("randomBytes")))
  })
})
