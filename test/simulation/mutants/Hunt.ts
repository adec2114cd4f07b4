/** Goes after mutants: plays seed after seed until one is wrong. */
import type { Level } from "../levels/Level.ts"
import type { PgliteServer } from "../levels/PgliteServer.ts"
import { run, type Verdict } from "../Scene.ts"
import * as Suite from "../Suite.ts"
import * as CodeMutants from "./CodeMutants.ts"
import * as SqlMutants from "./SqlMutants.ts"

/** What became of a mutant. */
export interface Catch {
  readonly name: string
  readonly where: string
  readonly seeds: number
  readonly played: number
  /** Undefined: it survived. */
  readonly verdict: Verdict | undefined
}

type Suite = typeof Suite

const hunt = (
  suite: Suite,
  mutant: { readonly name: string; readonly scene: string; readonly seeds: number },
  where: string,
  level: ReturnType<Suite["pglite"]>,
  seconds: number,
  isWell: (seed: number) => boolean
): Catch => {
  const scene = suite.scenes.find(({ name }) => name === mutant.scene)
  if (scene === undefined) throw new Error(`there is no scene ${mutant.scene}`)
  const told = { name: mutant.name, where, seeds: mutant.seeds }
  for (let seed = 1; seed <= mutant.seeds; seed++) {
    const verdict = run(scene, level, { seed, seconds })
    if (verdict.wrong.length === 0) continue
    if (!isWell(seed)) throw new Error(`seed ${seed} of ${mutant.scene} is wrong without "${mutant.name}" too`)
    return { ...told, played: seed, verdict }
  }
  return { ...told, played: mutant.seeds, verdict: undefined }
}

/** A seed that is wrong by itself has found nothing. */
const isWellWithout = (level: Level, name: string, seed: number, seconds: number): boolean => {
  const scene = Suite.scenes.find((scene) => scene.name === name)
  return scene !== undefined && run(scene, level, { seed, seconds }).wrong.length === 0
}

/** Hunts a mutant of the schema. */
export const ofSql = (server: PgliteServer, mutant: SqlMutants.Mutant, seconds: number): Catch => {
  const mend = SqlMutants.apply(server, mutant)
  const level = Suite.pglite(server)
  const isWell = (seed: number): boolean => {
    mend()
    return isWellWithout(level, mutant.scene, seed, seconds)
  }
  const caught = hunt(Suite, mutant, `pglite ${mutant.scene}, ${mutant.of}`, level, seconds, isWell)
  mend()
  return caught
}

/** Hunts a mutant of the code. */
export const ofCode = async (
  server: PgliteServer | undefined,
  mutant: CodeMutants.CodeMutant,
  seconds: number
): Promise<Catch> => {
  const suite = await CodeMutants.load(mutant)
  if (mutant.level === "pglite" && server === undefined) throw new Error(`${mutant.name} needs a server`)
  const level = mutant.level === "memory" || server === undefined ? suite.memory : suite.pglite(server)
  const sound = mutant.level === "memory" || server === undefined ? Suite.memory : Suite.pglite(server)
  return hunt(
    suite,
    mutant,
    `${mutant.level} ${mutant.scene}, ${mutant.file}`,
    level,
    seconds,
    (seed) => isWellWithout(sound, mutant.scene, seed, seconds)
  )
}

/** A line of the table. */
export const describe = ({ name, played, seeds, verdict, where }: Catch): string =>
  `${verdict === undefined ? "SURVIVED" : "found"} | ${name} | ${where} | ` +
  (verdict === undefined ? `${seeds} seeds` : `seed ${played} of ${seeds}: ${verdict.wrong[0]?.slice(0, 120)}`)
