/**
 * `npm run simulate -- --seed N [--runs K] [--scene jobs,orders,fetch,api|all] [--level memory|pglite|all] [--seconds S] [--trace] [--without i,j] [--mutants sql|code|all [--only TEXT] [--max-seeds N]]`
 */
import { parseArgs } from "node:util"
import { escapes, install } from "./kernel/Escapes.ts"
import { Kernel } from "./kernel/Kernel.ts"
import type { Level } from "./levels/Level.ts"
import * as PostgresLevel from "./levels/PostgresLevel.ts"
import { PgliteServer } from "./levels/PgliteServer.ts"
import * as CodeMutants from "./mutants/CodeMutants.ts"
import * as Hunt from "./mutants/Hunt.ts"
import * as SqlMutants from "./mutants/SqlMutants.ts"
import type { Scene, Verdict } from "./Scene.ts"
import * as Suite from "./Suite.ts"

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    runs: { type: "string", default: "1" },
    seconds: { type: "string", default: "90" },
    scene: { type: "string", default: "all" },
    level: { type: "string", default: "all" },
    without: { type: "string", default: "" },
    trace: { type: "boolean", default: false },
    mutants: { type: "string" },
    "max-seeds": { type: "string", default: "1000" },
    only: { type: "string", default: "" }
  }
})

const first = Number(values.seed)
const runs = Number(values.runs)
const seconds = Number(values.seconds)
const without = new Set(values.without === "" ? [] : values.without.split(",").map(Number))
const isWanted = (name: string, wanted: string): boolean => wanted === "all" || wanted.split(",").includes(name)
const scenes = Suite.scenes.filter(({ name }) => isWanted(name, values.scene))

/** What was played in all. */
const played = { runs: 0, wrong: 0, virtualSeconds: 0, statements: 0, strikes: new Map<string, number>() }

const count = (verdict: Verdict): Verdict => {
  played.runs++
  played.virtualSeconds += verdict.virtualSeconds
  played.statements += verdict.statements
  for (const kind of verdict.kinds) played.strikes.set(kind, (played.strikes.get(kind) ?? 0) + 1)
  return verdict
}

const print = ({ accepted, hash, statements, steps, story, strikes, wrong }: Verdict, title: string): void => {
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
/** It takes a few seconds to start: only where it is wanted. */
const server = isWanted("pglite", values.level) ? await PgliteServer.open(new Kernel(0)) : undefined
if (server !== undefined) Suite.prepare(server)
const real = isWanted("postgres", values.level) ? await PostgresLevel.start() : undefined
if (real !== undefined) PostgresLevel.prepare(real.server)
const begun = performance.now()
const levels: ReadonlyArray<Level> = [Suite.memory, ...server === undefined ? [] : [Suite.pglite(server)], ...real === undefined ? [] : [Suite.postgres(real.server)]].filter((
  { name }
) => isWanted(name, values.level))

const play = (scene: Scene, level: Level, seed: number): void => {
  const verdict = count(Suite.run(scene, level, { seed, seconds, without, story: values.trace }))
  print(verdict, `${level.name} ${scene.name}, seed ${seed}`)
  if (verdict.wrong.length > 0) played.wrong++
}

/** Breaks schema and code in each way, and says after how many seeds that was seen. */
const hunt = async (): Promise<void> => {
  const uninstallMutants = CodeMutants.install()
  const isMeant = ({ name, seeds }: { readonly name: string; readonly seeds: number }): boolean =>
    name.includes(values.only) && seeds <= Number(values["max-seeds"])
  const isOf = (kind: string): boolean => values.mutants === kind || values.mutants === "all"
  const note = (caught: Hunt.Catch): void => {
    played.runs += caught.played
    if (caught.verdict === undefined) played.wrong++
    console.log(Hunt.describe(caught))
  }
  for (const mutant of isOf("sql") ? SqlMutants.mutants.filter(isMeant) : []) {
    if (server !== undefined) note(Hunt.ofSql(server, mutant, seconds))
  }
  for (const mutant of isOf("code") ? CodeMutants.mutants.filter(isMeant) : []) {
    if (isWanted(mutant.level, values.level)) note(await Hunt.ofCode(server, mutant, seconds))
  }
  uninstallMutants()
}

if (values.mutants !== undefined) await hunt()
else {
  for (let seed = first; seed < first + runs; seed++) {
    for (const level of levels) for (const scene of scenes) play(scene, level, seed)
  }
}
const wall = (performance.now() - begun) / 1000
console.log(
  `${played.runs} runs, ${played.wrong} wrong; ${(played.virtualSeconds / 3600).toFixed(2)} virtual hours in ${
    wall.toFixed(1)
  } s, ` +
    `${(played.statements / wall).toFixed(0)} statements a second; ` +
    `strikes: ${[...played.strikes].map(([kind, times]) => `${kind} ${times}`).join(", ")}`
)
if (values.trace) { for (const [where, times] of escapes) console.log(`escaped: ${where}: ${times}`) }
uninstall()
await server?.close()
await real?.stop()
process.exitCode = played.wrong > 0 ? 1 : 0
