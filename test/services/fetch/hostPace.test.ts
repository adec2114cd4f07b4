/**
 * How a gate finds the pace of its host: lists of pages against simulated hosts. The goals as a table, and what must hold against any host.
 */
import { assert, describe, it } from "@effect/vitest"
import * as fs from "node:fs"
import { defaults, type Result, run, type Step } from "../../support/fetch/GateRun.ts"
import { chanceOf, type Manner, SimulatedHost } from "../../support/fetch/SimulatedHost.ts"

/** Half of it to one and a half times. */
const about = (millis: number, seed = 1) => {
  const chance = chanceOf(seed)
  return () => millis * (0.5 + chance())
}

const nth = (every: number, times: number) => (page: string) => Number(page.slice(1)) % every === every - 1 ? times : 0

const through = (manner: Manner, pages: number, limits: Partial<typeof defaults> = {}, untilMillis?: number) => {
  const host = new SimulatedHost(manner)
  const result = run(host, {
    pages,
    limits,
    chance: chanceOf(7),
    ...(untilMillis === undefined ? {} : { untilMillis })
  })
  return { host, result }
}

const allServed = ({ failed, refusals }: Result) => assert.deepStrictEqual([failed, refusals.length], [0, 0])

describe("pages that are refused for themselves", () => {
  const clean = (pages: number) => through({ latency: about(20) }, pages).result.endedAtMillis

  for (const refusalMillis of [1, 20]) {
    it(`one in a hundred, twice, after ${refusalMillis} ms: no slower than 1.3 times without`, () => {
      const { result } = through({ latency: about(20), refusalMillis, refusals: nth(100, 2) }, 4000)
      allServed(result)
      assert.isAtMost(result.endedAtMillis, 1.3 * clean(4000))
      assert.isTrue(result.steps.every(({ shutUntilMillis }) => shutUntilMillis < 0), "the host is never shut")
    })
  }

  it("one in ten, twice: all are served in a few seconds, and the host is never shut", () => {
    for (const pages of [520, 4000]) {
      const { result } = through({ latency: about(20), refusals: nth(10, 2) }, pages)
      allServed(result)
      assert.isAtMost(result.endedAtMillis, 2.5 * clean(pages) + 2000)
      assert.isTrue(result.steps.every(({ shutUntilMillis }) => shutUntilMillis < 0))
    }
  })
})

describe("a host that is limited to so many at once", () => {
  const limited = [1, 2, 3, 5, 8, 12, 15].flatMap((k) =>
    [20, 50, 150].flatMap((latency) => [2, latency].map((refusalMillis) => ({ k, latency, refusalMillis })))
  )
  for (const { k, latency, refusalMillis } of limited) {
    it(`${k}, answers after ${latency} ms, refuses after ${refusalMillis} ms: found within 5 seconds and kept to`, () => {
      const { host, result } = through({ latency: about(latency), refusalMillis, limit: () => k }, 100_000, {}, 30_000)
      const settled = result.steps.filter(({ atMillis }) => atMillis > 5000)
      for (const { concurrency } of settled) {
        assert.isAtLeast(concurrency, Math.floor(0.75 * k))
        assert.isAtMost(concurrency, k + 2)
      }
      const late = host.between(5000, 30_000)
      assert.isAtMost(late.filter(({ isRefused }) => isRefused).length, 0.06 * late.length)
      // What it can do: k at a time, each for as long as it takes.
      assert.isAtLeast(late.length, 0.9 * 25_000 * k / latency)
    })
  }

  it("64 allowed, 40 taken, 200 ms away: within 5 seconds most of it, in half a minute all of it", () => {
    const { result } = through(
      { latency: about(200), refusalMillis: 2, limit: () => 40 },
      100_000,
      { perHost: 64 },
      60_000
    )
    for (const { atMillis, concurrency } of result.steps) {
      if (atMillis > 5000) assert.isTrue(concurrency >= 20 && concurrency <= 41)
      if (atMillis > 30_000) assert.isTrue(concurrency >= 38)
    }
  })

  it("that takes fewer from some time on, or more: found again", () => {
    const change = (before: number, after: number) =>
      through({ latency: about(50), limit: (at) => at < 10_000 ? before : after }, 100_000, {}, 40_000).result.steps
        .filter(({ atMillis }) => atMillis > 25_000).map(({ concurrency }) => concurrency)
    const fewer = change(12, 5)
    assert.deepStrictEqual([Math.min(...fewer), Math.max(...fewer)], [5, 6])
    const more = change(5, 12)
    assert.deepStrictEqual([Math.min(...more), Math.max(...more)], [12, 13])
  })
})

describe("a host that is limited to so many a second", () => {
  for (const perSecond of [2, 10, 50, 200]) {
    for (const latency of [1, 20]) {
      it(`${perSecond}, answers after ${latency} ms: found within 10 seconds and kept to`, () => {
        const { host } = through({ latency: about(latency), perSecond }, 100_000, {}, 70_000)
        const late = host.between(10_000, 70_000)
        const served = late.filter(({ isRefused }) => !isRefused).length / 60
        assert.isAtLeast(served, 0.75 * perSecond)
        assert.isAtMost(late.length / 60, 1.3 * perSecond)
      })
    }
  }
})

describe("a host that refuses everything", () => {
  it("is asked once a second at most, and less and less; its pages are told so, not that it said so", () => {
    for (let seed = 1; seed <= 200; seed++) {
      const host = new SimulatedHost({ latency: about([1, 5, 50][seed % 3] ?? 1, seed), isDown: () => true })
      const result = run(host, { pages: 1000, chance: chanceOf(seed) })
      // Ten at first, half of that, and half again.
      assert.isAtMost(host.between(0, 1000).length, 24)
      for (let from = 1000; from < 100_000; from += 1000) {
        assert.isAtMost(host.between(from, from + 1000).length, 1, `seed ${seed}, from ${from} ms`)
      }
      assert.isAtMost(host.seen.length, 36)
      assert.strictEqual(result.served + result.failed + result.refusals.length, 1000)
      assert.isTrue(result.refusals.every(({ _tag }) => _tag === "Resting"))
      assert.isAtLeast(result.refusals.length, 980)
    }
  })

  it("for twenty seconds costs those and little more, and next to none of its pages", () => {
    const { result } = through({ latency: about(20), isDown: (at) => at > 1000 && at < 21_000 }, 6000)
    assert.isAtLeast(result.served, 5995)
    assert.isAtMost(result.endedAtMillis, 35_000)
    assert.isAtMost(result.refusedRequests, 60)
  })
})

describe("any host", () => {
  const pick = <A>(chance: () => number, first: A, ...rest: ReadonlyArray<A>): A => {
    return rest[Math.floor(chance() * (rest.length + 1)) - 1] ?? first
  }

  /** A host of a kind, and a policy, by chance. */
  const hostOf = (seed: number) => {
    const chance = chanceOf(seed)
    const latency = pick(chance, 1, 20, 100, 400)
    const down = chance() < 0.3 ? chance() * 10_000 : Infinity
    const downMillis = chance() * 20_000
    const flaky = pick(chance, 0, 0, 0.01, 0.05, 0.15)
    const k = pick(chance, 1, 2, 4, 9, 20, Infinity)
    const perSecond = pick(chance, 0, 0, 1, 7, 60)
    const asked = [undefined, undefined, undefined, 0, 3000, 100_000][Math.floor(chance() * 6)]
    const own = chanceOf(seed + 1)
    const manner: Manner = {
      latency: about(latency, seed + 2),
      ...(chance() < 0.5 ? { refusalMillis: 1 } : undefined),
      limit: () => k,
      ...(perSecond === 0 ? undefined : { perSecond, burst: pick(chance, 1, perSecond, 10 * perSecond) }),
      isDown: (at) => (at > down && at < down + downMillis) || own() < flaky,
      asks: () => asked
    }
    const limits = {
      perHost: pick(chance, 1, 4, 16, 64),
      perHostRatePerSecond: pick(chance, Infinity, Infinity, 5),
      isAdaptive: chance() < 0.9
    }
    return { manner, limits, asked, pages: pick(chance, 1, 50, 800) }
  }

  const check = (seed: number) => {
    const { asked, limits, manner, pages } = hostOf(seed)
    const host = new SimulatedHost(manner)
    const latest: Array<boolean> = []
    let before: Step | undefined
    let lessAt = 0
    let askedUntilMillis = Number.NEGATIVE_INFINITY
    const starts: Array<number> = []
    const onStep = (step: Step) => {
      const { atMillis, concurrency, event, inFlight, shutUntilMillis, started, ticket } = step
      assert.isAtMost(inFlight, limits.perHost, "never more at once than the policy allows")
      if (event === "start") {
        assert.isAtLeast(atMillis, shutUntilMillis, "nothing starts while it is shut")
        assert.isAtLeast(atMillis, askedUntilMillis, "nor before the host's own word")
        starts.push(atMillis)
      } else {
        latest.push(event === "refused")
        if (latest.length > 8) latest.shift()
      }
      const refused = latest.filter(Boolean).length
      if (event === "refused" && asked !== undefined) askedUntilMillis = Math.max(askedUntilMillis, atMillis + asked)
      const isRest = before !== undefined && shutUntilMillis > Math.max(before.shutUntilMillis, askedUntilMillis)
      if (isRest) {
        assert.isAbove(2 * refused, latest.length, "it rests only when most of the latest answers are refusals")
      }
      if (before !== undefined && limits.isAdaptive && event === "refused" && concurrency < before.concurrency) {
        assert.isAbove(ticket, lessAt, "one decrease for each round trip")
        if (refused < latest.length || latest.length < 8) {
          assert.isAtLeast(concurrency, Math.floor(before.concurrency / 2), "by half at most, while it serves anything")
        }
        lessAt = started
      }
      before = step
    }
    const result = run(host, { pages, limits, chance: chanceOf(seed + 3), onStep, untilMillis: 7_200_000 })
    assert.strictEqual(result.served + result.failed + result.refusals.length, pages, "every page comes to its end")
    for (let n = 0; n + 10 < starts.length && limits.perHostRatePerSecond === 5; n++) {
      assert.isAtLeast((starts[n + 10] ?? 0) - (starts[n] ?? 0), 1999.999, "never faster than the policy allows")
    }
    const words = new Set(result.refusals.map(({ _tag }) => _tag))
    if (asked === undefined || asked <= defaults.patienceMillis) {
      assert.isFalse(words.has("Asked"), "it never asked for that")
    }
    // Its pages end for its refusals, and not for ours.
    assert.isAtMost(result.failed, result.refusedRequests)
  }

  const seeds = process.env["SLUICE_LONG"] === undefined ? 150 : 3000
  it(`keeps to the rules of the gate (${seeds} hosts)`, () => {
    for (let seed = 1; seed <= seeds; seed++) {
      try {
        check(seed * 7919)
      } catch (error) {
        throw new Error(`seed ${seed * 7919}`, { cause: error })
      }
    }
  }, 600_000)
})

describe("the figure in docs/fetching.md", () => {
  const rows = 16
  const columns = 72

  /** Places over time, a column for each quarter of a second; a dot where the host's own limit is. */
  const figure = () => {
    const limit = (atMillis: number) => atMillis < 9000 ? 6 : 12
    const { result } = through({ latency: about(100), limit }, 100_000, {}, columns * 250)
    const cells = Array.from({ length: columns }, (_, column) => {
      const from = column * 250
      const within = result.steps.filter(({ atMillis }) => atMillis >= from && atMillis < from + 250)
      return { places: Math.max(...within.map(({ concurrency }) => concurrency)), limit: limit(from) }
    })
    const lines = Array.from({ length: rows }, (_, row) => {
      const places = rows - row
      const line = cells.map((cell) => cell.places === places ? "#" : cell.limit === places ? "." : " ").join("")
      return `${String(places).padStart(2)} |${line}`.trimEnd()
    })
    const seconds = Array.from({ length: columns / 4 / 2 + 1 }, (_, n) => `${2 * n}`.padEnd(8)).join("")
    return [...lines, `   +${"-".repeat(columns)}`, `    ${seconds.trimEnd()} seconds`].join("\n")
  }

  it("is what the gate does (UPDATE_FIGURES=1 draws it anew)", () => {
    const page = new URL("../../../docs/fetching.md", import.meta.url)
    const text = fs.readFileSync(page, "utf8")
    const block = /(```text figure\n)[\s\S]*?(```)/
    const drawn = text.replace(block, (_, open: string, close: string) => `${open}${figure()}\n${close}`)
    if (process.env["UPDATE_FIGURES"] !== undefined) fs.writeFileSync(page, drawn)
    assert.match(text, block)
    assert.strictEqual(text, drawn)
  })
})
