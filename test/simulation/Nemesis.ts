/**
 * What goes wrong, as a list made from the seed before the world begins: it can be printed, and played again with some of it left out.
 * Each seed switches some kinds on, and makes some of them frequent (swarm testing), so that rare pairs meet.
 */
import type { SeededRandom } from "./kernel/Random.ts"
import { type Trouble, troubles } from "./levels/Level.ts"

/** Against one process. */
export const processKinds = [
  "kill",
  "stop",
  "freeze",
  "freezeAndKill",
  "freezeForGood",
  "cut",
  "cutAndKill",
  "slow",
  "jump",
  "drift"
] as const
/** Against the store, several processes at once, or by somebody who operates it. */
export const worldKinds = ["restart", "hang", ...troubles, "partition", "operate"] as const

export type Kind = typeof processKinds[number] | typeof worldKinds[number]

/** One strike. */
export interface Strike {
  readonly atMillis: number
  /** The processes that it is against. */
  readonly slots: ReadonlyArray<number>
  readonly kind: Kind
  /** How long it lasts. */
  readonly forMillis: number
  /** When it is killed, counted from the strike. */
  readonly killAfterMillis: number
  /** How long until another process takes the slot of one that was killed. */
  readonly backAfterMillis: number
  /** How much of it, from 0 to 1. */
  readonly extent: number
}

export const isTrouble = (kind: Kind): kind is Trouble => troubles.some((trouble) => trouble === kind)

/** Some kinds, each as often as it comes in the list. */
const switched = <K extends Kind>(
  random: SeededRandom,
  kinds: ReadonlyArray<K>,
  fallback: K
): readonly [K, ...Array<K>] => {
  const on = kinds.flatMap((kind) => random.chance(0.5) ? Array.from({ length: 1 + random.below(4) }, () => kind) : [])
  return [on[0] ?? fallback, ...on.slice(1)]
}

/** Strikes of one seed over so many slots. */
export const plan = (random: SeededRandom, slots: number, seconds: number): ReadonlyArray<Strike> => {
  const onProcesses = switched(random, processKinds, "cutAndKill")
  const onWorld = switched(random, worldKinds, "restart")
  const pauseMillis = 2000 + random.float() * 30_000
  const strikes: Array<Strike> = []
  const line = (from: readonly [Kind, ...Array<Kind>], chosen: () => ReadonlyArray<number>, pause: number): void => {
    for (let at = random.float() * pause; at < seconds * 1000; at += 2000 + random.float() * 2 * pause) {
      const kind = random.pick(from)
      const isOfStore = kind === "hang" || kind === "restart" || isTrouble(kind)
      const forMillis = random.float() * (isOfStore ? 6000 : 12_000)
      strikes.push({
        atMillis: at,
        slots: chosen(),
        kind,
        forMillis,
        killAfterMillis: kind === "freezeAndKill" ? forMillis + random.float() * 600 : random.float() * forMillis,
        backAfterMillis: random.float() * 8000,
        extent: random.float()
      })
    }
  }
  for (let slot = 0; slot < slots; slot++) line(onProcesses, () => [slot], pauseMillis)
  if (random.chance(0.7)) {
    const half = () => Array.from({ length: slots }, (_, slot) => slot).filter(() => random.chance(0.5))
    line(onWorld, half, 2 * pauseMillis)
  }
  return strikes.sort((a, b) => a.atMillis - b.atMillis)
}

const isTimed: ReadonlySet<Kind> = new Set(["kill", "stop", "freezeForGood", "drift", "jump", "operate"])

/** A line of the plan. */
export const describe = ({ atMillis, forMillis, kind, killAfterMillis, slots }: Strike): string => {
  const seconds = (millis: number) => `${(millis / 1000).toFixed(3)} s`
  const ends = isTimed.has(kind) ? "" : ` for ${seconds(forMillis)}`
  const kills = kind === "freezeAndKill" || kind === "cutAndKill" ? `, killed ${seconds(killAfterMillis)} later` : ""
  const whom = processKinds.some((each) => each === kind) || kind === "partition" ? ` process ${slots.join(", ")}` : ""
  return `at ${seconds(atMillis)}: ${kind}${whom}${ends}${kills}`
}
