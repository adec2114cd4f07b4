/**
 * Makes a failing seed small, for as long as the same thing stays wrong: a shorter time, fewer strikes (delta
 * debugging: Zeller and Hildebrandt, 2002), fewer processes. What is left out is left out by its place, so the seed
 * means the same for all that stays.
 */
import type { Verdict } from "./Scene.ts"
import type { WorldOptions } from "./World.ts"

/** What is played: everything of the seed that is left. */
export interface Case {
  /** Seconds until all is healed. */
  readonly healAfter: number
  /** Strikes, by their place in the plan. */
  readonly strikes: ReadonlyArray<number>
  /** Slots that are left empty. */
  readonly absent: ReadonlyArray<number>
}

export interface Shrunk {
  readonly small: Case
  readonly verdict: Verdict
  /** How many cases were played. */
  readonly tries: number
}

/** A line without what differs from one play to the next: ids, counts, amounts. */
const shapeOf = (line: string): string => line.replaceAll(/[0-9a-f]{8}-[0-9a-f-]{27}|\d+(\.\d+)?/g, "#")

/** Whether something of the same kind is wrong. */
const isSame = (of: string, { wrong }: Verdict): boolean => wrong.some((line) => shapeOf(line) === of)

/** For a play that is to show the same, and nothing else. */
export const stopsAt = ({ wrong: [first = ""] }: Verdict) => (line: string): boolean => shapeOf(line) === shapeOf(first)

export const optionsOf = ({ absent, healAfter, strikes }: Case, { seconds, seed }: WorldOptions): WorldOptions => ({
  seed,
  seconds,
  healAfter,
  only: new Set(strikes),
  absent: new Set(absent)
})

/** As arguments of `npm run simulate`. */
export const commandOf = (small: Case, { seconds, seed }: WorldOptions, scene: string, level: string): string =>
  [
    `npm run simulate -- --seed ${seed} --level ${level} --scene ${scene} --seconds ${seconds}`,
    `--heal-after ${small.healAfter} --only-strikes ${small.strikes.length === 0 ? "none" : small.strikes.join(",")}`,
    ...small.absent.length === 0 ? [] : [`--absent ${small.absent.join(",")}`]
  ].join(" ")

/** Plays smaller and smaller cases of what `found` was wrong with; at most so many. */
export const shrink = (
  play: (small: Case) => Verdict,
  found: Verdict,
  { maxTries = 150, seconds, slots }: { readonly seconds: number; readonly slots: number; readonly maxTries?: number }
): Shrunk => {
  const wanted = shapeOf(found.wrong[0] ?? "")
  let small: Case = { healAfter: seconds, strikes: found.kept, absent: [] }
  let verdict = found
  let tries = 0
  /** Whether it can be that small. */
  const becomes = (candidate: Case): boolean => {
    if (tries >= maxTries) return false
    tries++
    const played = play(candidate)
    if (!isSame(wanted, played)) return false
    // What would have come later made no difference.
    small = {
      ...candidate,
      strikes: played.kept,
      healAfter: Math.min(candidate.healAfter, Math.ceil(played.virtualSeconds))
    }
    verdict = played
    return true
  }
  const hasShortened = (): boolean => {
    const before = small.healAfter
    for (let step = Math.ceil(small.healAfter / 2); step >= 1; step = Math.floor(step / 2)) {
      while (small.healAfter - step >= 1 && becomes({ ...small, healAfter: small.healAfter - step })) {
        // As far as it goes.
      }
    }
    return small.healAfter < before
  }
  const hasDropped = (): boolean => {
    const before = small.strikes.length
    if (before > 0 && becomes({ ...small, strikes: [] })) return true
    for (let size = Math.ceil(small.strikes.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
      for (let at = 0; at < small.strikes.length;) {
        const rest = small.strikes.toSpliced(at, size)
        if (rest.length === 0 || !becomes({ ...small, strikes: rest })) at += size
      }
    }
    return small.strikes.length < before
  }
  const hasEmptied = (): boolean => {
    const before = small.absent.length
    for (let slot = slots - 1; slot >= 0; slot--) {
      if (!small.absent.includes(slot) && small.absent.length < slots - 1) {
        becomes({ ...small, absent: [...small.absent, slot].toSorted((a, b) => a - b) })
      }
    }
    return small.absent.length > before
  }
  const isSmaller = (): boolean => [hasShortened(), hasDropped(), hasEmptied()].some((each) => each)
  if (becomes(small)) {
    while (isSmaller()) {
      // As long as one makes room for another.
    }
  }
  return { small, verdict, tries }
}
