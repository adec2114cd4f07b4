/** `npm run simulate -- --seed N [--runs K] [--scene jobs|orders|all] [--seconds S] [--trace] [--without i,j]` */
import { parseArgs } from "node:util"
import { escapes, install } from "./Escapes.ts"
import * as JobsScene from "./JobsScene.ts"
import { Kernel } from "./Kernel.ts"
import * as OrdersScene from "./OrdersScene.ts"
import { PgliteServer } from "./PgliteServer.ts"
import * as Scene from "./Scene.ts"

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    runs: { type: "string", default: "1" },
    seconds: { type: "string", default: "90" },
    scene: { type: "string", default: "all" },
    without: { type: "string", default: "" },
    trace: { type: "boolean", default: false }
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
for (let seed = first; seed < first + runs; seed++) {
  for (const scene of scenes) {
    const verdict = await Scene.run(scene, server, { seed, seconds, without, story: values.trace })
    print(verdict, `${scene.name}, seed ${seed}`)
    virtual += verdict.virtualSeconds
    if (verdict.wrong.length > 0) failed++
  }
}
const wall = (performance.now() - begun) / 1000
console.log(
  `${runs * scenes.length} runs, ${failed} wrong; ${(virtual / 3600).toFixed(2)} virtual hours in ${
    wall.toFixed(1)
  } s, ` +
    `${(server.statements / wall).toFixed(0)} statements a second`
)
if (values.trace) { for (const [where, count] of escapes) console.log(`escaped: ${where}: ${count}`) }
uninstall()
await server.close()
process.exitCode = failed > 0 ? 1 : 0
