import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { stripVTControlCharacters } from "node:util"
import * as Progress from "../../../src/programs/fetch/Progress.ts"
import { RunMeter } from "../../../src/programs/fetch/RunMeter.ts"
import * as Summary from "../../../src/programs/fetch/Summary.ts"
import type { Fetched } from "../../../src/services/fetch/Fetcher.ts"
import type { HostView } from "../../../src/services/fetch/HostView.ts"
import { succeeded, target } from "../../conformance/Frontier.suite.ts"

const fetched = (url: string, more: Partial<Fetched["outcome"]> = {}): Fetched => {
  const { outcome, target: of } = succeeded(target(url))
  return { target: of, outcome: { ...outcome, ...more } }
}

const view = (host: string, more: Partial<HostView> = {}): HostView => ({
  host,
  inFlight: 0,
  places: undefined,
  perSecond: undefined,
  block: undefined,
  ...more
})

/** A run of 10: 2 recorded before, then 3 on `a.test` with retries and 1 failure on `b.test`, one URL a second. */
const meterAt = (startMillis: number): RunMeter => {
  const meter = new RunMeter(startMillis)
  meter.opened({ pending: 3, leased: 0, done: 1, failed: 1, deferred: 0 })
  meter.addedTo({ fresh: 5, repeated: 2 }, 8)
  for (let n = 0; n < 6; n++) meter.started("a.test")
  meter.started("b.test")
  const ends = [
    fetched("http://a.test/1", { attempts: 3, bytes: 2048 }),
    fetched("http://a.test/2"),
    fetched("http://a.test/3"),
    fetched("http://b.test/", { ok: false, error: { _tag: "IdleTimeout", message: "stood still" } })
  ]
  ends.forEach((end, n) => {
    meter.ended(end)
    meter.recorded(end, startMillis + (n + 1) * 1000)
  })
  meter.looked([view("a.test", { inFlight: 2 })], startMillis + 4000)
  return meter
}

const plain = (lines: ReadonlyArray<string>) => lines.map(stripVTControlCharacters)

/** However it is laid out. */
const squeezed = (line: string | undefined) => line?.replaceAll(/ +/g, " ")

describe("Progress", () => {
  it("shows what is done, how fast, and what is left; retries move nothing", () => {
    const meter = meterAt(100_000)
    const [first, second, ...hosts] = plain(
      Progress.render("crawl", meter, { nowMillis: 104_000, columns: 80, rows: 24 })
    )
    assert.match(first ?? "", /^ {2}crawl {2}█+.*6\/10\+ {2}reading$/)
    assert.strictEqual(second, "  1 URLs/s · 516 B/s · 2 in flight · 2 retries · 1 failed")
    assert.deepStrictEqual(hosts.map(squeezed), [" a.test 2 in flight 3 done"])
    meter.isInputDone = true
    const [done, pace] = plain(Progress.render("crawl", meter, { nowMillis: 104_000, columns: 80, rows: 24 }))
    assert.include(done, "6/10  60.0 %")
    assert.include(pace, "4 s left")
  })

  it("tells why nothing starts on a host, for how long, and what it takes", () => {
    const meter = meterAt(100_000)
    const lineOf = (more: Partial<HostView>) => {
      meter.looked([view("a.test", more)], 104_000)
      return squeezed(plain(Progress.render("crawl", meter, { nowMillis: 104_000, columns: 80, rows: 24 }))[2])
    }
    const rest = { _tag: "Resting", status: 503, forMillis: 11_200 } as const
    assert.strictEqual(
      lineOf({ block: rest, places: 1 }),
      " a.test blocked 12 s more (503), 1 at a time 3 done"
    )
    assert.strictEqual(
      lineOf({ block: { _tag: "Asked", status: 429, forMillis: 90_000 } }),
      " a.test blocked 1:30 more (429) 3 done"
    )
    assert.strictEqual(
      lineOf({ block: { _tag: "Silent", forMillis: 500 }, places: 1 }),
      " a.test silent, asked again in 1 s, 1 at a time 3 done"
    )
    assert.strictEqual(
      lineOf({ inFlight: 1, places: 1, perSecond: 2.54 }),
      " a.test 1 in flight, 1 at a time, 2.5/s 3 done"
    )
  })

  it("shows the only host when it is shut", () => {
    const meter = new RunMeter(0)
    meter.started("a.test")
    const lines = () => Progress.render("crawl", meter, { nowMillis: 0, columns: 80, rows: 24 }).length
    meter.looked([view("a.test", { inFlight: 1, places: 3 })], 0)
    assert.strictEqual(lines(), 2)
    meter.looked([view("a.test", { block: { _tag: "Asked", status: 429, forMillis: 1 } })], 0)
    assert.strictEqual(lines(), 3)
  })
  it.effect("is a line for a log", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(104_000)
      const meter = meterAt(100_000)
      assert.strictEqual(
        stripVTControlCharacters(yield* Progress.line("crawl", meter)),
        "crawl: 6/10+ (reading), 1 URLs/s, 516 B/s, 2 in flight, 2 retries, 1 failed"
      )
      meter.isInputDone = true
      assert.include(yield* Progress.line("crawl", meter), "crawl: 6/10 (60.0 %), ")
    }))

  it("fits the terminal, however small", () => {
    const meter = meterAt(100_000)
    assert.strictEqual(
      Progress.render("crawl", meter, { nowMillis: 104_000, columns: 80, rows: 4 }).length,
      2,
      "no room for hosts"
    )
    const block = { _tag: "Resting", status: 503, forMillis: 3_599_000 } as const
    meter.looked([view("a.test", { block, places: 16, perSecond: 0.5 })], 104_000)
    const [, , host = ""] = plain(Progress.render("crawl", meter, { nowMillis: 104_000, columns: 80, rows: 24 }))
    assert.include(host, "blocked 59:59 more (503), 16 at a time, 0.5/s         3 done")
    assert.isBelow(host.length, 80)
    for (const columns of [60, 80, 200]) {
      const [first] = plain(
        Progress.render("a-name-that-is-much-too-long-for-a-line", meter, { nowMillis: 104_000, columns, rows: 24 })
      )
      assert.isBelow(first?.length ?? 0, columns)
    }
  })

  it("starts at nothing and never divides by it", () => {
    assert.deepStrictEqual(
      plain(Progress.render("r", new RunMeter(0), { nowMillis: 0, columns: 40, rows: 24 }))[1],
      "  0 URLs/s · 0 B/s · 0 in flight"
    )
  })

  it("writes sizes and times for people", () => {
    assert.deepStrictEqual([0, 999, 1000, 1536, 150 * 1024, 5 * 1024 ** 3].map(Progress.size), [
      "0 B",
      "999 B",
      "1.0 KiB",
      "1.5 KiB",
      "150 KiB",
      "5.0 GiB"
    ])
    assert.deepStrictEqual([0.2, 59, 60, 3605, 7207].map(Progress.clock), ["1 s", "59 s", "1:00", "1:00:05", "2:00:07"])
  })

  it("reckons what is left with the pace of the hosts, and not with that of a while in which they were shut", () => {
    const meter = new RunMeter(0)
    meter.addedTo({ fresh: 120, repeated: 0 }, 120)
    assert.isUndefined(meter.secondsLeft(0), "the input is still read")
    meter.isInputDone = true
    const done = (count: number, atMillis: number) => {
      for (let n = 0; n < count; n++) {
        meter.started("a.test")
        meter.ended(fetched("http://a.test/1"))
        meter.recorded(fetched("http://a.test/1"), atMillis)
      }
    }
    for (let second = 1; second <= 10; second++) done(10, second * 1000)
    for (let n = 0; n < 20; n++) meter.started("a.test")
    meter.looked([view("a.test", { inFlight: 10 })], 10_000)
    assert.approximately(meter.secondsLeft(10_000) ?? 0, 2, 0.3)
    const block = { _tag: "Resting", status: 503, forMillis: 30_000 } as const
    meter.looked([view("a.test", { block })], 10_000)
    assert.approximately(meter.secondsLeft(10_000) ?? 0, 32, 0.1)
    meter.looked([view("a.test", { block: { ...block, forMillis: 10_000 } })], 30_000)
    assert.strictEqual(meter.waitedMillis, 20_000)
    assert.approximately(meter.secondsLeft(30_000) ?? 0, 12, 0.1, "twenty seconds of nothing are not the pace")
    meter.looked([view("a.test", { inFlight: 1, perSecond: 0.5 })], 40_000)
    assert.strictEqual(meter.waitedMillis, 30_000)
    assert.approximately(meter.secondsLeft(40_000) ?? 0, 40, 0.1, "what a host takes is known")
    meter.looked([view("a.test", { inFlight: 1 })], 41_000)
    assert.strictEqual(meter.waitedMillis, 30_000, "something is on the wire")
    meter.looked([view("a.test"), view("b.test", { inFlight: 1, block })], 42_000)
    meter.looked([view("a.test")], 43_000)
    assert.strictEqual(meter.waitedMillis, 30_000, "to one host is enough")
  })

  it("forgets hosts that are done, so that a million of them do not grow it", () => {
    const meter = new RunMeter(0)
    for (let n = 0; n < 100_000; n++) {
      meter.started(`h${n}.test`)
      meter.ended(fetched(`http://h${n}.test/`))
    }
    assert.isAtMost(meter.hosts.size, 10_000)
  })
})

describe("Summary", () => {
  const report = (meter: RunMeter) => ({
    name: "crawl",
    meter,
    done: meter.done,
    durationMillis: 4000,
    counts: { pending: 4, leased: 0, done: 4, failed: 2, deferred: 1 },
    stopped: undefined
  })

  it("tells what came of it and how to go on", () => {
    const meter = meterAt(0)
    meter.malformed = 2
    assert.deepStrictEqual(plain(Summary.table(report(meter), "./sluice fetch --run crawl")), [
      "  outcome                       URLs     share",
      "  ok                               3    75.0 %  ",
      "  IdleTimeout                      1    25.0 %  stood still",
      "",
      "  4 URLs in 4.0 s, 1/s, 2.0 KiB, 6 requests",
      "  2 lines of the input repeat others",
      "  1 line of the input known to run crawl already",
      "  2 lines of the input malformed",
      "  3 left to fetch: ./sluice fetch --run crawl",
      "  1 may be asked again later: ./sluice fetch --run crawl",
      "  2 failed: ./sluice fetch --run crawl --retry-failed"
    ])
    meter.waitedMillis = 41_300
    assert.strictEqual(
      plain(Summary.table(report(meter), "./sluice fetch --run crawl"))[5],
      "  waited 42 s for blocked hosts"
    )
    assert.strictEqual(
      plain(Summary.brief(report(meter), "./sluice fetch --run crawl"))[1],
      "waited 42 s for blocked hosts"
    )
    assert.strictEqual(
      plain(Summary.brief(report(meter), "./sluice fetch --run crawl"))[0],
      "run crawl: 4 URLs in 4.0 s, 1/s, 2.0 KiB, 6 requests: 3 ok, 1 IdleTimeout"
    )
  })
})
