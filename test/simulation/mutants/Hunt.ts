/** Goes after mutants: plays seed after seed until one is wrong. */
import type { Level } from "../levels/Level.ts"
import type { PgliteServer } from "../levels/PgliteServer.ts"
import { run, type Scene, type Verdict } from "../Scene.ts"
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

/** Where to look for one. */
interface Ground {
  readonly mutant: { readonly name: string; readonly scene: string; readonly seeds: number }
  readonly where: string
  readonly scenes: typeof Suite.scenes
  readonly level: Level
  readonly seconds: number
  /** Whether that seed is well without the mutant: one that is not has found nothing. */
  readonly isWell: (seed: number) => boolean
}

const sceneOf = (scenes: typeof Suite.scenes, name: string): Scene => {
  const scene = scenes.find((each) => each.name === name)
  if (scene === undefined) throw new Error(`there is no scene ${name}`)
  return scene
}

const hunt = ({ isWell, level, mutant, scenes, seconds, where }: Ground): Catch => {
  const scene = sceneOf(scenes, mutant.scene)
  const told = { name: mutant.name, where, seeds: mutant.seeds }
  for (let seed = 1; seed <= mutant.seeds; seed++) {
    const verdict = run(scene, level, { seed, seconds })
    if (verdict.wrong.length === 0) continue
    if (!isWell(seed)) throw new Error(`seed ${seed} of ${mutant.scene} is wrong without "${mutant.name}" too`)
    return { ...told, played: seed, verdict }
  }
  return { ...told, played: mutant.seeds, verdict: undefined }
}

/** Hunts a mutant of the schema. */
export const ofSql = (server: PgliteServer, mutant: SqlMutants.Mutant, seconds: number): Catch => {
  const mend = SqlMutants.apply(server, mutant)
  const level = Suite.pglite(server)
  const isWell = (seed: number): boolean => {
    mend()
    return run(sceneOf(Suite.scenes, mutant.scene), level, { seed, seconds }).wrong.length === 0
  }
  const where = `pglite ${mutant.scene}, ${mutant.of}`
  const caught = hunt({ mutant, where, scenes: Suite.scenes, level, seconds, isWell })
  mend()
  return caught
}

/** Hunts a mutant of the code. */
export const ofCode = async (
  server: PgliteServer | undefined,
  mutant: CodeMutants.CodeMutant,
  seconds: number
): Promise<Catch> => {
  const broken = await CodeMutants.load(mutant)
  const levelOf = (suite: typeof Suite): Level => {
    if (mutant.level === "memory") return suite.memory
    if (server === undefined) throw new Error(`${mutant.name} needs a server`)
    return suite.pglite(server)
  }
  const isWell = (seed: number): boolean =>
    run(sceneOf(Suite.scenes, mutant.scene), levelOf(Suite), { seed, seconds }).wrong.length === 0
  const where = `${mutant.level} ${mutant.scene}, ${mutant.file}`
  return hunt({ mutant, where, scenes: broken.scenes, level: levelOf(broken), seconds, isWell })
}

/** A line of the table. */
export const describe = ({ name, played, seeds, verdict, where }: Catch): string =>
  `${verdict === undefined ? "SURVIVED" : "found"} | ${name} | ${where} | ` +
  (verdict === undefined ? `${seeds} seeds` : `seed ${played} of ${seeds}: ${verdict.wrong[0]?.slice(0, 120)}`)
