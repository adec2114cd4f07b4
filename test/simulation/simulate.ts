/** `npm run simulate -- --seed N [--runs K] [--scene jobs|orders|all] [--seconds S] [--trace] [--without i,j] [--mutants]` */
import { parseArgs } from "node:util"
import { escapes, install } from "./kernel/Escapes.ts"
import { Kernel } from "./kernel/Kernel.ts"
import { PgliteServer } from "./levels/PgliteServer.ts"
import * as Mutants from "./mutants/SqlMutants.ts"
import * as Scene from "./Scene.ts"
import * as JobsScene from "./scenes/Jobs.ts"
import * as OrdersScene from "./scenes/Orders.ts"

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    runs: { type: "string", default: "1" },
    seconds: { type: "string", default: "90" },
    scene: { type: "string", default: "all" },
    without: { type: "string", default: "" },
    trace: { type: "boolean", default: false },
    mutants: { type: "boolean", default: false }
  }
})

const first = Number(values.seed)
const runs = Number(values.runs)
const seconds = Number(values.seconds)
const without = new Set(values.without === "" ? [] : values.without.split(",").map(Number))
const known = [JobsScene.scene, OrdersScene.scene]
const scenes = known.filter(({ name }) => values.scene === "all" || values.scene === name)

const print = ({ accepted, hash, statements, steps, story, strikes, wrong }: Scene.Verdict, title: string): void => {
  if (values.trace) { for (const line of story) console.log(line) }
  if (runs > 1 && wrong.length === 0) return
  console.log(
    `${title}: ${wrong.length === 0 ? "all is well" : "WRONG"}; ${accepted} accepted, ${strikes.length} strikes, ` +
      `${statements} statements, ${steps} steps, hash ${hash}`
  )
  if (wrong.length > 0 && runs === 1) { for (const strike of strikes) console.log(`  ${strike}`) }
  for (const line of wrong.slice(0, 8)) console.log(`  ! ${line}`)
}

const uninstall = install()
const server = await PgliteServer.open(new Kernel(0))
await Scene.prepare(server, known)
const begun = performance.now()
let failed = 0
let virtual = 0
/** Breaks the schema in each way, and says after how many seeds that was seen. */
const hunt = async (): Promise<void> => {
  for (const mutant of Mutants.mutants) {
    const mend = await Mutants.apply(server, mutant)
    const scene = known.find(({ name }) => name === mutant.scene) ?? JobsScene.scene
    let found: Scene.Verdict | undefined
    for (let seed = 1; seed <= mutant.seeds && found === undefined; seed++) {
      const verdict = await Scene.run(scene, server, { seed, seconds })
      virtual += verdict.virtualSeconds
      if (verdict.wrong.length > 0) found = verdict
    }
    await mend()
    if (found === undefined) failed++
    const what = found === undefined ? `NOT FOUND in ${mutant.seeds} seeds` : `seed ${found.seed}: ${found.wrong[0]}`
    console.log(`${mutant.name} (${mutant.of}): ${what}`)
  }
}

if (values.mutants) await hunt()
for (let seed = first; !values.mutants && seed < first + runs; seed++) {
  for (const scene of scenes) {
    const verdict = await Scene.run(scene, server, { seed, seconds, without, story: values.trace })
    print(verdict, `${scene.name}, seed ${seed}`)
    virtual += verdict.virtualSeconds
    if (verdict.wrong.length > 0) failed++
  }
}
const wall = (performance.now() - begun) / 1000
console.log(
  `${values.mutants ? Mutants.mutants.length : runs * scenes.length} runs, ${failed} wrong; ${
    (virtual / 3600).toFixed(2)
  } virtual hours in ${wall.toFixed(1)} s, ` +
    `${(server.statements / wall).toFixed(0)} statements a second`
)
if (values.trace) { for (const [where, count] of escapes) console.log(`escaped: ${where}: ${count}`) }
uninstall()
await server.close()
process.exitCode = failed > 0 ? 1 : 0
