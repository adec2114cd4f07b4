/**
 * What seeds have found, as small as it got: each is played again by `regressions.test.ts`. `npm run simulate --
 * --shrink` prints what a new one needs.
 */
import type { Level } from "./levels/Level.ts"

export interface Regression {
  readonly seed: number
  readonly level: Level["name"]
  readonly scene: "jobs" | "orders" | "fetch" | "api"
  readonly seconds: number
  readonly healAfter: number
  /** The strikes that are kept, by their place in the plan. */
  readonly strikes: ReadonlyArray<number>
  /** Slots that are left empty. */
  readonly absent: ReadonlyArray<number>
  /** The commit that mended it. */
  readonly mended: string
  /** What was wrong. */
  readonly what: string
}

export const regressions: ReadonlyArray<Regression> = [
  {
    seed: 2,
    level: "pglite",
    scene: "jobs",
    seconds: 60,
    healAfter: 17,
    strikes: [3],
    absent: [2],
    mended: "57be8b6",
    what: "a claim that arrives after its worker was declared dead takes jobs that nobody runs"
  }
]
