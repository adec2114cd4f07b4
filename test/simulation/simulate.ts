/**
 * Plays worlds from seeds: see `usage`, and docs/reliability.md for what `--json` prints.
 */
import { once } from "node:events"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setImmediate as turn } from "node:timers/promises"
import { parseArgs } from "node:util"
import * as Escapes from "./kernel/Escapes.ts"
import { Kernel } from "./kernel/Kernel.ts"
import type { Level } from "./levels/Level.ts"
import { PgliteServer } from "./levels/PgliteServer.ts"
import * as PostgresLevel from "./levels/PostgresLevel.ts"
import * as CodeMutants from "./mutants/CodeMutants.ts"
import * as Hunt from "./mutants/Hunt.ts"
import * as PostgresMutants from "./mutants/PostgresMutants.ts"
import * as SqlMutants from "./mutants/SqlMutants.ts"
import type { Scene, Verdict } from "./Scene.ts"
import * as Shrink from "./Shrink.ts"
import { soak } from "./Soak.ts"
import * as Story from "./Story.ts"
import * as Suite from "./Suite.ts"
import { playedOf, Tally } from "./Tally.ts"
import type { WorldOptions } from "./World.ts"

const usage = `npm run simulate -- [--seed N] [--runs K | --hours H [--jobs N] [--progress S]] [--step N]
  [--scene jobs,orders,fetch,api|all] [--level memory,pglite,postgres|all] [--seconds S] [--heal-after S]
  [--without i,j] [--only-strikes i,j|none] [--absent slot,slot] [--mutant TEXT] [--first] [--shrink [--max-tries N]] [--trace] [--json]
  [--failures FILE] [--mutants sql|code|all [--only TEXT] [--max-seeds N]]`

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    runs: { type: "string" },
    step: { type: "string", default: "1" },
    hours: { type: "string" },
    jobs: { type: "string" },
    seconds: { type: "string", default: "90" },
    "heal-after": { type: "string" },
    scene: { type: "string", default: "all" },
    level: { type: "string", default: "memory,pglite" },
    without: { type: "string", default: "" },
    "only-strikes": { type: "string" },
    absent: { type: "string", default: "" },
    mutant: { type: "string" },
    first: { type: "boolean", default: false },
    shrink: { type: "boolean", default: false },
    "max-tries": { type: "string", default: "150" },
    trace: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    progress: { type: "string", default: "30" },
    failures: { type: "string", default: join(tmpdir(), `sluice-simulation-${process.pid}.jsonl`) },
    mutants: { type: "string" },
    "max-seeds": { type: "string", default: "1000" },
    only: { type: "string", default: "" },
    help: { type: "boolean", default: false }
  }
})

if (values.help) {
  console.log(usage)
  process.exit(0)
}

const numbers = (text: string): ReadonlySet<number> =>
  new Set(text === "" || text === "none" ? [] : text.split(",").map(Number))
const seconds = Number(values.seconds)
const base: Omit<WorldOptions, "seed"> = {
  seconds,
  healAfter: values["heal-after"] === undefined ? undefined : Number(values["heal-after"]),
  without: numbers(values.without),
  only: values["only-strikes"] === undefined ? undefined : numbers(values["only-strikes"]),
  absent: numbers(values.absent)
}
const isWanted = (name: string, wanted: string): boolean => wanted === "all" || wanted.split(",").includes(name)

/** Ends after the seed that is played; a second time at once. */
const stopping = new AbortController()
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => stopping.signal.aborted ? process.exit(130) : stopping.abort())
}

/** Whoever read it has gone (`| head`): no more is played, and nothing is said into the void. */
let isUnread = false
process.stdout.on("error", () => {
  isUnread = true
  stopping.abort()
})
process.stderr.on("error", () => {})

const say = (line: string): void => {
  if (!isUnread) console.log(line)
}

/** As of any program here: 141 when the reader has gone while something was left to play. */
const codeOf = (isWrong: boolean): number => isWrong ? 1 : isUnread ? 141 : stopping.signal.aborted ? 130 : 0

if (values.jobs !== undefined) {
  const passed = [
    ...["scene", "level", "seconds"].flatMap((name) => [`--${name}`, String(Reflect.get(values, name))]),
    ...values.mutant === undefined ? [] : ["--mutant", values.mutant]
  ]
  const { problems, tally } = await soak({
    hours: Number(values.hours ?? "1"),
    jobs: Number(values.jobs),
    firstSeed: Number(values.seed),
    args: passed,
    failures: values.failures,
    progressMillis: Number(values.progress) * 1000,
    say: values.json ? (line) => console.error(line) : say
  }, stopping.signal)
  for (const problem of problems) console.error(problem)
  say(values.json ? JSON.stringify(tally.summary) : tally.line)
  if (tally.wrong > 0) console.error(`what was wrong is in ${values.failures}`)
  process.exit(codeOf(tally.wrong > 0 || problems.length > 0))
}

const uninstall = Escapes.install()
/** They take a few seconds to start: only where they are wanted. */
const pglite = isWanted("pglite", values.level) ? await PgliteServer.open(new Kernel(0)) : undefined
if (pglite !== undefined) Suite.prepare(pglite)
const real = isWanted("postgres", values.level) ? await PostgresLevel.start() : undefined
if (real !== undefined) PostgresLevel.prepare(real.server)

/** The suite as it is, or with a mutant in it. */
const load = async (): Promise<typeof Suite> => {
  const wanted = values.mutant
  if (wanted === undefined) return Suite
  const ofSql = [...SqlMutants.mutants, ...PostgresMutants.mutants].find(({ name }) => name.includes(wanted))
  if (ofSql !== undefined) {
    if (pglite !== undefined) SqlMutants.apply(pglite, ofSql)
    if (real !== undefined) SqlMutants.apply(real.server.template, ofSql)
    return Suite
  }
  const ofCode = CodeMutants.mutants.find(({ name }) => name.includes(wanted))
  if (ofCode === undefined) throw new Error(`there is no mutant with "${wanted}" in its name`)
  CodeMutants.install()
  return CodeMutants.load(ofCode)
}
const suite = await load()
const scenes = suite.scenes.filter(({ name }) => isWanted(name, values.scene))
const levels: ReadonlyArray<Level> = [
  ...isWanted("memory", values.level) ? [suite.memory] : [],
  ...pglite === undefined ? [] : [suite.pglite(pglite)],
  ...real === undefined ? [] : [suite.postgres(real.server)]
]

const tally = new Tally()
const isSweep = values.runs !== undefined || values.hours !== undefined

const print = (verdict: Verdict, title: string): void => {
  const { accepted, hash, statements, steps, story, strikes, wrong } = verdict
  if (values.trace) { for (const line of story) say(line) }
  if (isSweep && wrong.length === 0) return
  say(
    `${title}: ${wrong.length === 0 ? "all is well" : "WRONG"}; ${accepted} accepted, ${strikes.length} strikes, ` +
      `${statements} statements, ${steps} steps, hash ${hash}`
  )
  if (wrong.length > 0 && !isSweep) { for (const strike of strikes) say(`  ${strike}`) }
  for (const line of wrong.slice(0, 8)) say(`  ! ${line}`)
}

/** Shrinks what is wrong and tells its story. */
const explain = (scene: Scene, level: Level, found: Verdict): void => {
  const options = { ...base, seed: found.seed }
  const play = (small: Shrink.Case, story: boolean) =>
    Suite.run(scene, level, { ...Shrink.optionsOf(small, options), stopsAt: Shrink.stopsAt(found), story })
  const { small, tries, verdict } = Shrink.shrink((each) => play(each, false), found, {
    seconds: base.healAfter ?? seconds,
    slots: scene.slots,
    maxTries: Number(values["max-tries"])
  })
  say(`\nshrunk in ${tries} plays: ${level.name} ${scene.name}, seed ${found.seed}, ${small.strikes.length} strikes`)
  for (const strike of verdict.strikes) say(`  ${strike}`)
  for (const line of Story.summary(play(small, true).story)) say(line)
  for (const line of verdict.wrong.slice(0, 3)) say(`  ! ${line}`)
  const mutant = values.mutant === undefined ? "" : ` --mutant "${values.mutant}"`
  say(`again: ${Shrink.commandOf(small, options, scene.name, level.name)}${mutant}`)
}

let hasExplained = false

const play = (scene: Scene, level: Level, seed: number): void => {
  const before = { lockWaits: real?.server.lockWaits ?? 0, deadlocks: real?.server.deadlocks ?? 0 }
  const options = { ...base, seed }
  const verdict = Suite.run(scene, level, { ...options, story: values.trace })
  const isWrong = verdict.wrong.length > 0
  const story = isWrong && values.json ? Story.summary(Suite.run(scene, level, { ...options, story: true }).story) : []
  const played = playedOf(verdict, {
    level: level.name,
    scene: scene.name,
    lockWaits: (real?.server.lockWaits ?? 0) - before.lockWaits,
    deadlocks: (real?.server.deadlocks ?? 0) - before.deadlocks
  }, story)
  tally.add(played)
  if (values.json) return say(JSON.stringify(played))
  print(verdict, `${level.name} ${scene.name}, seed ${seed}`)
  if (!isWrong || hasExplained || !values.shrink) return
  hasExplained = true
  explain(scene, level, verdict)
}

/** Breaks schema and code in each way, and says after how many seeds that was seen. */
const hunt = async (): Promise<void> => {
  const uninstallMutants = CodeMutants.install()
  const isMeant = ({ name, seeds }: { readonly name: string; readonly seeds: number }): boolean =>
    name.includes(values.only) && seeds <= Number(values["max-seeds"])
  const isOf = (kind: string): boolean => values.mutants === kind || values.mutants === "all"
  const note = (caught: Hunt.Catch): void => {
    tally.runs += caught.played
    if (caught.verdict === undefined) tally.wrong++
    say(Hunt.describe(caught))
  }
  for (const mutant of isOf("sql") ? SqlMutants.mutants.filter(isMeant) : []) {
    if (pglite !== undefined) note(Hunt.ofSql(pglite, mutant, seconds))
  }
  for (const mutant of isOf("code") ? CodeMutants.mutants.filter(isMeant) : []) {
    if (isWanted(mutant.level, values.level)) note(await Hunt.ofCode(pglite, mutant, seconds))
  }
  uninstallMutants()
}

const sweep = async (): Promise<void> => {
  const end = performance.now() + Number(values.hours ?? "Infinity") * 3_600_000
  const runs = values.hours === undefined ? Number(values.runs ?? "1") : Infinity
  const step = Number(values.step)
  for (let run = 0, seed = Number(values.seed); run < runs; run++, seed += step) {
    for (const level of levels) {
      for (const scene of scenes) {
        if (stopping.signal.aborted || performance.now() >= end || (values.first && tally.wrong > 0)) return
        play(scene, level, seed)
        // Signals are heard here, and lines written.
        await turn()
      }
    }
  }
}

await (values.mutants === undefined ? sweep() : hunt())
say(values.json ? JSON.stringify(tally.summary) : tally.line)
const ours = Escapes.ours()
if (values.trace) { for (const [where, times] of Escapes.escapes) say(`escaped: ${where}: ${times}`) }
for (const [where, times] of ours) console.error(`WRONG: src asked the real world: ${where}: ${times}`)
uninstall()
await pglite?.close()
await real?.stop()
if (!isUnread && process.stdout.writableNeedDrain) await once(process.stdout, "drain")
process.exit(codeOf(tally.wrong > 0 || ours.length > 0))
