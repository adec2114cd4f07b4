/** What is wrong with a simulated database at a moment. */
import type { SeededRandom } from "../kernel/Random.ts"
import type { Trouble } from "./Level.ts"

/** How often connections break around a statement; its effect is then there or not, and the caller does not know. */
export interface Breakage {
  readonly before: number
  readonly after: number
}

/** What is wrong with the server now. */
export class ServerFaults {
  breakage: Breakage = { before: 0, after: 0 }
  awayUntil = 0
  hangsUntil = 0
  private readonly troubles = new Map<Trouble, number>()
  private readonly nowMillis: () => number

  constructor(nowMillis: () => number) {
    this.nowMillis = nowMillis
  }

  get isAway(): boolean {
    return this.nowMillis() < this.awayUntil
  }

  get hangs(): boolean {
    return this.nowMillis() < this.hangsUntil
  }

  begin(trouble: Trouble, millis: number): void {
    this.troubles.set(trouble, this.nowMillis() + millis)
  }

  has(trouble: Trouble): boolean {
    return this.nowMillis() < (this.troubles.get(trouble) ?? 0)
  }

  /** The code that a statement fails with instead of being done. */
  injected(random: SeededRandom): Trouble | undefined {
    return injectable.find((trouble) => this.has(trouble) && random.chance(0.2))
  }
}

/** Told apart from a server that only reads: that one says it by itself. */
const injectable: ReadonlyArray<Trouble> = ["53100", "40001", "40P01"]
