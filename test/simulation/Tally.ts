/** What was played in all, and how it is told: for people, and as lines of JSON for machines (docs/reliability.md). */
import type { Verdict } from "./Scene.ts"

/** One seed that was played. */
export interface Played {
  readonly type: "verdict"
  readonly level: string
  readonly scene: string
  readonly seed: number
  readonly wrong: ReadonlyArray<string>
  readonly accepted: number
  readonly strikes: ReadonlyArray<string>
  readonly kinds: ReadonlyArray<string>
  readonly statements: number
  readonly steps: number
  readonly virtualSeconds: number
  readonly lockWaits: number
  readonly deadlocks: number
  readonly hash: string
  /** Only when it is wrong. */
  readonly story: ReadonlyArray<string>
}

export const playedOf = (
  verdict: Verdict,
  where: { readonly level: string; readonly scene: string; readonly lockWaits: number; readonly deadlocks: number },
  story: ReadonlyArray<string>
): Played => {
  const { accepted, hash, kinds, seed, statements, steps, strikes, virtualSeconds, wrong } = verdict
  return {
    type: "verdict",
    ...where,
    seed,
    wrong,
    accepted,
    strikes,
    kinds,
    statements,
    steps,
    virtualSeconds,
    hash,
    story
  }
}

export interface Summary {
  readonly type: "summary"
  readonly runs: number
  readonly wrong: number
  readonly virtualHours: number
  readonly wallSeconds: number
  readonly statements: number
  readonly accepted: number
  readonly lockWaits: number
  readonly deadlocks: number
  readonly strikes: Readonly<Record<string, number>>
  readonly byLevel: Readonly<Record<string, number>>
}

export class Tally {
  runs = 0
  wrong = 0
  private virtualSeconds = 0
  private statements = 0
  private accepted = 0
  private lockWaits = 0
  private deadlocks = 0
  private readonly strikes = new Map<string, number>()
  private readonly levels = new Map<string, number>()
  private readonly begun = performance.now()

  add(played: Played): void {
    this.runs++
    if (played.wrong.length > 0) this.wrong++
    this.virtualSeconds += played.virtualSeconds
    this.statements += played.statements
    this.accepted += played.accepted
    this.lockWaits += played.lockWaits
    this.deadlocks += played.deadlocks
    for (const kind of played.kinds) this.strikes.set(kind, (this.strikes.get(kind) ?? 0) + 1)
    const where = `${played.level} ${played.scene}`
    this.levels.set(where, (this.levels.get(where) ?? 0) + 1)
  }

  get summary(): Summary {
    return {
      type: "summary",
      runs: this.runs,
      wrong: this.wrong,
      virtualHours: this.virtualSeconds / 3600,
      wallSeconds: (performance.now() - this.begun) / 1000,
      statements: this.statements,
      accepted: this.accepted,
      lockWaits: this.lockWaits,
      deadlocks: this.deadlocks,
      strikes: Object.fromEntries(this.strikes),
      byLevel: Object.fromEntries(this.levels)
    }
  }

  get line(): string {
    const { accepted, byLevel, deadlocks, lockWaits, runs, statements, strikes, virtualHours, wallSeconds, wrong } =
      this.summary
    const listed = (counts: Readonly<Record<string, number>>): string =>
      Object.entries(counts).map(([name, count]) => `${name} ${count}`).join(", ")
    return `${runs} runs, ${wrong} wrong; ${virtualHours.toFixed(2)} virtual hours in ${wallSeconds.toFixed(1)} s, ` +
      `${accepted} accepted, ${(statements / wallSeconds).toFixed(0)} statements a second; ` +
      `${lockWaits} lock waits, ${deadlocks} deadlocks; ${listed(byLevel)}; strikes: ${listed(strikes)}`
  }
}
