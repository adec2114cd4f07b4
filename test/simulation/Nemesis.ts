/**
 * What goes wrong, as a list made from the seed before the world begins: it can be printed, and played again with some of it left out. Each seed
 * switches some kinds on (swarm testing), so that rare pairs meet.
 */
import type { SeededRandom } from "./kernel/Random.ts"

export const kinds = ["kill", "freeze", "freezeAndKill", "cut", "cutAndKill", "skew"] as const
export type Kind = typeof kinds[number]

/** One strike against the process in a slot. */
export interface Strike {
  readonly atMillis: number
  readonly slot: number
  readonly kind: Kind
  /** How long it is frozen or cut off. */
  readonly forMillis: number
  /** When it is killed, counted from the strike. */
  readonly killAfterMillis: number
  /** How long until another process takes the slot of one that was killed. */
  readonly backAfterMillis: number
}

/** Strikes of one seed over so many slots. */
export const plan = (random: SeededRandom, slots: number, seconds: number): ReadonlyArray<Strike> => {
  const chosen = kinds.filter(() => random.chance(0.6))
  const on: readonly [Kind, ...Array<Kind>] = [chosen[0] ?? "cutAndKill", ...chosen.slice(1)]
  const pauseMillis = 2000 + random.float() * 30_000
  const strikes: Array<Strike> = []
  for (let slot = 0; slot < slots; slot++) {
    let atMillis = random.float() * pauseMillis
    while (atMillis < seconds * 1000) {
      const forMillis = random.float() * 12_000
      const kind = random.pick(on)
      strikes.push({
        atMillis,
        slot,
        kind,
        forMillis,
        killAfterMillis: kind === "freezeAndKill" ? forMillis + random.float() * 600 : random.float() * forMillis,
        backAfterMillis: random.float() * 8000
      })
      atMillis += 2000 + random.float() * 2 * pauseMillis
    }
  }
  return strikes.sort((a, b) => a.atMillis - b.atMillis)
}

/** A line of the plan. */
export const describe = ({ atMillis, forMillis, kind, killAfterMillis, slot }: Strike): string => {
  const seconds = (millis: number) => `${(millis / 1000).toFixed(3)} s`
  const ends = kind === "kill" ? "" : ` for ${seconds(forMillis)}`
  const kills = kind === "freezeAndKill" || kind === "cutAndKill" ? `, killed ${seconds(killAfterMillis)} later` : ""
  return `at ${seconds(atMillis)}: ${kind} process ${slot}${ends}${kills}`
}
