/**
 * Whole worlds from a seed: the real wings over a simulated network and virtual time, killed, frozen, cut off. `npm run simulate -- --seed N --trace`
 * tells the story of one.
 */
import { assert, describe, it } from "@effect/vitest"
import { afterAll, beforeAll } from "vitest"
import { escapes, install } from "./kernel/Escapes.ts"
import { Kernel } from "./kernel/Kernel.ts"
import { PgliteServer } from "./levels/PgliteServer.ts"
import * as Mutants from "./mutants/SqlMutants.ts"
import * as Scene from "./Scene.ts"
import * as JobsScene from "./scenes/Jobs.ts"
import * as OrdersScene from "./scenes/Orders.ts"

const scenes = [JobsScene.scene, OrdersScene.scene]
const isLong = process.env["SLUICE_LONG"] === "1"
const seeds = Array.from({ length: isLong ? 100 : 6 }, (_, at) => at + 1)
const seconds = isLong ? 90 : 30

let server: PgliteServer
let uninstall: () => void

beforeAll(async () => {
  uninstall = install()
  server = await PgliteServer.open(new Kernel(0))
  await Scene.prepare(server, scenes)
})

afterAll(async () => {
  uninstall()
  await server.close()
})

describe("simulation", () => {
  for (const scene of scenes) {
    for (const seed of seeds) {
      it(`${scene.name}, seed ${seed}: all that was accepted ended, once, and the books add up`, async () => {
        const verdict = await Scene.run(scene, server, { seed, seconds })
        assert.deepStrictEqual(verdict.wrong, [])
        assert.isAbove(verdict.accepted, 0)
      })
    }

    it(`${scene.name}: a seed is played the same way again, whatever was played in between`, async () => {
      const once = await Scene.run(scene, server, { seed: 1001, seconds: 10 })
      await Scene.run(scene, server, { seed: 1002, seconds: 5 })
      const again = await Scene.run(scene, server, { seed: 1001, seconds: 10 })
      const other = await Scene.run(scene, server, { seed: 1003, seconds: 10 })
      assert.strictEqual(again.hash, once.hash)
      assert.notStrictEqual(other.hash, once.hash)
    })
  }

  for (const mutant of Mutants.mutants.filter(({ seeds }) => isLong || seeds <= 5)) {
    it(`finds within ${mutant.seeds} seeds: ${mutant.name}`, async () => {
      const scene = scenes.find(({ name }) => name === mutant.scene)
      assert.isDefined(scene)
      const mend = await Mutants.apply(server, mutant)
      let found = false
      for (let seed = 1; seed <= mutant.seeds && !found; seed++) {
        found = (await Scene.run(scene, server, { seed, seconds: 60 })).wrong.length > 0
      }
      await mend()
      assert.isTrue(found)
    }, 300_000)
  }

  it("nothing of ours asks the real world for time or chance", () => {
    assert.deepStrictEqual([...escapes.keys()].filter((place) => / src\//.test(place)), [])
    // The client's prepared statements have random names: what escapes is seen.
    assert.isTrue([...escapes.keys()].some((place) => place.startsWith("randomBytes")))
  })
})
