/** The schema broken where only transactions beside each other show it: found on the level `postgres`, within so many seeds. */
import type { Mutant } from "./SqlMutants.ts"

export const mutants: ReadonlyArray<Mutant> = [
  {
    name: "a lost worker is forgotten while somebody has its jobs locked",
    scene: "jobs",
    of: "job_recover",
    from: "and (held = 0 or",
    to: "and (true or",
    seeds: 60
  }
]
