import { assert, describe, it } from "@effect/vitest"
import type { Verdict } from "./Scene.ts"
import * as Shrink from "./Shrink.ts"
import * as Story from "./Story.ts"

/** A world in which job 7 is lost when these strikes fall, the time is long enough and these slots are there. */
const world = (
  needs: { readonly strikes: ReadonlyArray<number>; readonly healAfter: number; readonly slots: ReadonlyArray<number> }
) => {
  const play = (small: Shrink.Case): Verdict => {
    const isWrong = needs.strikes.every((strike) => small.strikes.includes(strike)) &&
      small.healAfter >= needs.healAfter && needs.slots.every((slot) => !small.absent.includes(slot))
    // Too little time breaks something else, which is not what is looked for.
    const other = small.healAfter < 3 ? ["the counters say 3"] : []
    return {
      seed: 1,
      wrong: isWrong ? [`accepted job ${small.strikes.length} had no effect`, ...other] : other,
      accepted: 0,
      strikes: [],
      kept: small.strikes,
      kinds: [],
      statements: 0,
      steps: 0,
      virtualSeconds: small.healAfter + 60,
      hash: "",
      story: []
    }
  }
  const all: Shrink.Case = { healAfter: 90, strikes: Array.from({ length: 30 }, (_, at) => at), absent: [] }
  return { play, found: play(all) }
}

describe("shrinking", () => {
  it("keeps what the failure needs, and nothing else", () => {
    const { found, play } = world({ strikes: [3, 17, 18], healAfter: 41, slots: [1] })
    const { small, tries, verdict } = Shrink.shrink(play, found, { seconds: 90, slots: 3 })
    assert.deepStrictEqual(small, { healAfter: 41, strikes: [3, 17, 18], absent: [0, 2] })
    assert.strictEqual(verdict.wrong[0], "accepted job 3 had no effect")
    assert.isBelow(tries, 100)
  })

  it("drops all strikes of what is wrong by itself", () => {
    const { found, play } = world({ strikes: [], healAfter: 1, slots: [0, 1, 2] })
    const { small } = Shrink.shrink(play, found, { seconds: 90, slots: 3 })
    assert.deepStrictEqual(small, { healAfter: 1, strikes: [], absent: [] })
  })

  it("ends after so many tries", () => {
    const { found, play } = world({ strikes: [3, 17], healAfter: 41, slots: [] })
    const { tries, verdict } = Shrink.shrink(play, found, { seconds: 90, slots: 3, maxTries: 5 })
    assert.strictEqual(tries, 5)
    assert.isNotEmpty(verdict.wrong)
  })

  it("is told as a command", () => {
    const small = { healAfter: 41, strikes: [3, 17], absent: [0] }
    assert.strictEqual(
      Shrink.commandOf(small, { seed: 7, seconds: 90 }, "jobs", "postgres"),
      "npm run simulate -- --seed 7 --level postgres --scene jobs --seconds 90 --heal-after 41 --only-strikes 3,17 --absent 0"
    )
  })
})

describe("a story", () => {
  const told = (at: number, text: string) => `${at.toFixed(3).padStart(9)}  ${text}`

  it("ends with what is wrong, and tells what was done just before", () => {
    const story = [
      told(0, "p0.0 starts"),
      ...Array.from({ length: 500 }, (_, at) => told(at, `· p0.0, connection 1: select ${at}`)),
      told(501, "WRONG: job 7 runs for nobody"),
      told(502, "all is healed")
    ]
    const lines = Story.summary(story, 20)
    assert.isAtMost(lines.length, 20)
    assert.strictEqual(lines[0], story[0])
    assert.strictEqual(lines.at(-1), story.at(-2))
    assert.strictEqual(lines.at(-2), story.at(-3))
  })

  it("is cut in the middle", () => {
    const story = Array.from({ length: 500 }, (_, at) => told(at, `p${at} starts`))
    const lines = Story.summary(story, 20)
    assert.strictEqual(lines.length, 20)
    assert.strictEqual(lines[0], story[0])
    assert.strictEqual(lines.at(-1), story.at(-1))
    assert.include(lines[10], "481 more lines")
  })
})
