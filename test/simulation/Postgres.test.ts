/** The suite over a real Postgres, where transactions run beside each other; and what seeds have found on any level, played again. */
import { assert, describe, it } from "@effect/vitest"
import { afterAll, beforeAll } from "vitest"
import { install } from "./kernel/Escapes.ts"
import { Kernel } from "./kernel/Kernel.ts"
import type { Level } from "./levels/Level.ts"
import { PgliteServer } from "./levels/PgliteServer.ts"
import * as PostgresLevel from "./levels/PostgresLevel.ts"
import * as PostgresMutants from "./mutants/PostgresMutants.ts"
import * as SqlMutants from "./mutants/SqlMutants.ts"
import { regressions } from "./regressions.ts"
import { run } from "./Scene.ts"
import * as Shrink from "./Shrink.ts"
import * as Suite from "./Suite.ts"

const isLong = process.env["SLUICE_LONG"] === "1"
const seeds = isLong ? 20 : 1
const seconds = isLong ? 90 : 15

let real: Awaited<ReturnType<typeof PostgresLevel.start>>
let pglite: PgliteServer
let uninstall: () => void

beforeAll(async () => {
  uninstall = install()
  real = await PostgresLevel.start()
  PostgresLevel.prepare(real.server)
  pglite = await PgliteServer.open(new Kernel(0))
  Suite.prepare(pglite)
}, 120_000)

afterAll(async () => {
  uninstall()
  await pglite.close()
  await real.stop()
})

const levels: Readonly<Record<Level["name"], () => Level>> = {
  memory: () => Suite.memory,
  pglite: () => Suite.pglite(pglite),
  postgres: () => Suite.postgres(real.server)
}

const sceneOf = (wanted: string) => {
  const scene = Suite.scenes.find(({ name }) => name === wanted)
  if (scene === undefined) throw new Error(`there is no scene ${wanted}`)
  return scene
}

describe("simulation over a real Postgres", () => {
  for (const scene of Suite.scenes) {
    it(`${scene.name}, seeds 1 to ${seeds}: what was promised is kept`, () => {
      for (let seed = 1; seed <= seeds; seed++) {
        const verdict = run(scene, levels.postgres(), { seed, seconds })
        assert.deepStrictEqual(verdict.wrong, [], `seed ${seed}: ${verdict.strikes.join("; ")}`)
        assert.isAbove(verdict.accepted, 0)
      }
    }, 1_800_000)
  }

  it("statements wait for locks, and the same seed is played the same way again", () => {
    const { server } = real
    const before = server.lockWaits
    const hashOf = () => run(sceneOf("orders"), levels.postgres(), { seed: 2, seconds: 15 }).hash
    const once = hashOf()
    assert.isAbove(server.lockWaits, before)
    assert.strictEqual(hashOf(), once)
  }, 600_000)

  for (const mutant of isLong ? PostgresMutants.mutants : []) {
    it(`finds within ${mutant.seeds} seeds: ${mutant.name}`, () => {
      const mend = SqlMutants.apply(real.server.template, mutant)
      let wrong = 0
      for (let seed = 1; seed <= mutant.seeds && wrong === 0; seed++) {
        wrong = run(sceneOf(mutant.scene), levels.postgres(), { seed, seconds: 60 }).wrong.length
      }
      mend()
      assert.isAbove(wrong, 0)
    }, 1_800_000)
  }
})

describe("what seeds have found", () => {
  for (const { level, mended, scene, seconds, seed, what, ...small } of regressions) {
    it(`${what} (${level} ${scene}, seed ${seed}; mended by ${mended})`, () => {
      const verdict = run(sceneOf(scene), levels[level](), Shrink.optionsOf(small, { seed, seconds }))
      assert.deepStrictEqual(verdict.wrong, [])
    }, 600_000)
  }
})
