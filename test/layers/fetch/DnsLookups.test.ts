/**
 * Lookups under way: their bound, their order, and what silent ones may cost the others. Time is virtual, the resolver a script.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import type { Answer, Lookup } from "../../../src/layers/fetch/dns/Answer.ts"
import { GetaddrinfoLane } from "../../../src/layers/fetch/dns/GetaddrinfoLane.ts"
import * as Timers from "../../../src/layers/fetch/dns/Timers.ts"
import { DnsCache, type DnsCacheOptions } from "../../../src/layers/fetch/http1/DnsCache.ts"
import { leakFree } from "../../support/leakFree.ts"

const found: Answer = { addresses: [{ address: "10.0.0.1", family: 4 }] }

interface Call {
  readonly name: string
  readonly answer: (answer: Answer) => void
  isCancelled: boolean
}

/** A resolver whose every call waits until the test answers it. */
const script = () => {
  const calls: Array<Call> = []
  const lookup: Lookup = (name, done) => {
    const call: Call = { name, answer: done, isCancelled: false }
    calls.push(call)
    return () => {
      call.isCancelled = true
    }
  }
  const of = (name: string) => calls.findLast((call) => call.name === name) ?? assert.fail(`${name} was not asked`)
  return { calls, lookup, of, names: () => calls.map(({ name }) => name) }
}

const setup = Effect.fnUntraced(function*(options: DnsCacheOptions = {}) {
  const resolver = script()
  const cache = new DnsCache(yield* Timers.make, { lookup: resolver.lookup, ...options })
  const told: Array<readonly [string, string]> = []
  const ask = (name: string) =>
    cache.resolve(
      name,
      (answer) => told.push([name, "code" in answer ? answer.code : "found"]),
      (isHeld) => told.push([name, isHeld ? "held" : "begun"])
    )
  return { ...resolver, cache, ask, told }
})

describe("lookups", () => {
  it.effect("one for a name however many ask; each is told once, and what is known at once", () =>
    Effect.gen(function*() {
      const { ask, of, names, told } = yield* setup()
      ask("a")
      ask("a")
      of("a").answer(found)
      ask("a")
      assert.deepStrictEqual(names(), ["a"])
      assert.deepStrictEqual(told, [["a", "found"], ["a", "found"], ["a", "found"]])
    }).pipe(Effect.scoped, leakFree))

  it.effect("no more at a time than the bound, the others in their order, and they know that they wait", () =>
    Effect.gen(function*() {
      const { ask, of, names, told } = yield* setup({ lookupsMax: 2 })
      for (const name of ["a", "b", "c", "d"]) ask(name)
      assert.deepStrictEqual(names(), ["a", "b"])
      of("b").answer(found)
      assert.deepStrictEqual(names(), ["a", "b", "c"])
      assert.deepStrictEqual(told, [["c", "held"], ["d", "held"], ["c", "begun"], ["b", "found"]])
    }).pipe(Effect.scoped, leakFree))

  it.effect("a slow one gives its place to the next, and is heard all the same", () =>
    Effect.gen(function*() {
      const { ask, names, of, told } = yield* setup({ lookupsMax: 1 })
      ask("silent")
      ask("a")
      yield* TestClock.adjust("999 millis")
      assert.deepStrictEqual(names(), ["silent"])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(names(), ["silent", "a"])
      of("a").answer(found)
      of("silent").answer(found)
      assert.deepStrictEqual(told.slice(2), [["a", "found"], ["silent", "found"]])
    }).pipe(Effect.scoped, leakFree))

  it.effect("a thousand silent names cost a good one no more than the time to be seen as slow", () =>
    Effect.gen(function*() {
      const { ask, of, told } = yield* setup({ lookupsMax: 100 })
      for (let n = 0; n < 1000; n++) ask(`silent${n}`)
      ask("good")
      yield* TestClock.adjust("10 seconds")
      of("good").answer(found)
      assert.deepStrictEqual(told.at(-1), ["good", "found"])
    }).pipe(Effect.scoped, leakFree))

  it.effect("given up: the place is free at once, the late answer is remembered", () =>
    Effect.gen(function*() {
      const { ask, names, of, told } = yield* setup({ lookupsMax: 1 })
      const leave = ask("late")
      ask("b")
      leave()
      leave()
      assert.deepStrictEqual(names(), ["late", "b"])
      of("late").answer(found)
      assert.notDeepInclude(told, ["late", "found"])
      ask("late")
      assert.deepStrictEqual(names(), ["late", "b"])
      assert.deepStrictEqual(told.at(-1), ["late", "found"])
    }).pipe(Effect.scoped, leakFree))

  it.effect("given up before its turn: it is never asked", () =>
    Effect.gen(function*() {
      const { ask, names, of } = yield* setup({ lookupsMax: 1 })
      ask("a")
      const leave = ask("b")
      ask("c")
      leave()
      of("a").answer(found)
      assert.deepStrictEqual(names(), ["a", "c"])
      ask("b")
      of("c").answer(found)
      assert.deepStrictEqual(names(), ["a", "c", "b"])
    }).pipe(Effect.scoped, leakFree))

  it.effect("asked for again while it is under way with nobody waiting: its answer is for the new one", () =>
    Effect.gen(function*() {
      const { ask, names, of, told } = yield* setup()
      ask("a")()
      ask("a")
      of("a").answer(found)
      assert.deepStrictEqual(names(), ["a"])
      assert.deepStrictEqual(told, [["a", "found"]])
    }).pipe(Effect.scoped, leakFree))

  it.effect("those that nobody waits for are the first to go when too many are slow", () =>
    Effect.gen(function*() {
      const { ask, calls, of } = yield* setup({ lookupsMax: 2, slowMax: 2 })
      ask("wanted")
      ask("stray")()
      yield* TestClock.adjust("1 second")
      ask("x")
      ask("y")
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(calls.filter((call) => call.isCancelled).map(({ name }) => name), ["stray"])
      ask("z")
      // Two that are waited for are aside and no more may be: the third keeps its place, the fourth has the one that is left.
      assert.isFalse(of("z").isCancelled)
    }).pipe(Effect.scoped, leakFree))

  it.effect("ten thousand that wait for their turn and are then answered on the spot", () =>
    Effect.gen(function*() {
      let first: (answer: Answer) => void = () => {}
      const { ask, told } = yield* setup({
        lookupsMax: 1,
        entriesMax: 10,
        lookup: (name, done) => {
          if (name === "n0") first = done
          else done(found)
        }
      })
      for (let n = 0; n < 10_000; n++) ask(`n${n}`)
      first(found)
      assert.lengthOf(told.filter(([, word]) => word === "found"), 10_000)
    }).pipe(Effect.scoped, leakFree))

  it.effect("closing ends every lookup and tells nobody", () =>
    Effect.gen(function*() {
      const { ask, cache, calls, told } = yield* setup({ lookupsMax: 3 })
      ask("slow")
      yield* TestClock.adjust("2 seconds")
      for (const name of ["a", "b", "c", "d"]) ask(name)
      ask("a")()
      const before = told.length
      cache.close()
      assert.isTrue(calls.every((call) => call.isCancelled))
      for (const call of calls) call.answer(found)
      assert.lengthOf(told, before)
    }).pipe(Effect.scoped, leakFree))
})

describe("memory", () => {
  const ttl = (name: string, answer: Answer, millis: number) =>
    it.effect(name, () =>
      Effect.gen(function*() {
        const { ask, names, of } = yield* setup()
        ask("a")
        of("a").answer(answer)
        if (millis > 0) {
          yield* TestClock.adjust(millis - 1)
          ask("a")
          assert.deepStrictEqual(names(), ["a"])
          yield* TestClock.adjust(1)
        }
        ask("a")
        assert.deepStrictEqual(names(), ["a", "a"])
      }).pipe(Effect.scoped, leakFree))
  const addresses = [{ address: "10.0.0.1", family: 4 }]
  ttl("an answer holds as long as it says", { addresses, ttlMillis: 7000 }, 7000)
  ttl("but at least a second", { addresses, ttlMillis: 0 }, 1000)
  ttl("and at most five minutes", { addresses, ttlMillis: 86_400_000 }, 300_000)
  ttl("one that does not say, half a minute", { addresses }, 30_000)
  ttl("a failure, a second", { code: "ENOTFOUND" }, 1000)
  ttl("what this side lacks is not remembered", { code: "EMFILE" }, 0)
})

describe("getaddrinfo", () => {
  it.effect("two at a time; who waits is told, who leaves is not asked, and names of DNS do not wait for it", () =>
    Effect.gen(function*() {
      const system = script()
      const lane = new GetaddrinfoLane(system.lookup)
      const { ask, cache, names, told } = yield* setup({
        lookupsMax: 4,
        lookup: (name, done, held) => name.endsWith(".local") ? lane.lookup(name, done, held) : done(found)
      })
      const leave = ["a", "b", "c", "d", "e", "f"].map((name) => ask(`${name}.local`))
      assert.deepStrictEqual(system.names(), ["a.local", "b.local"])
      assert.deepStrictEqual(told.map(([name, word]) => `${name} ${word}`), [
        "c.local held",
        "d.local held",
        "e.local held",
        "f.local held"
      ])
      ask("dns.test")
      assert.deepStrictEqual(told.at(-1), ["dns.test", "found"])
      leave[2]?.()
      system.of("a.local").answer({ code: "ENOTFOUND" })
      assert.deepStrictEqual(system.names(), ["a.local", "b.local", "d.local"])
      assert.deepStrictEqual(told.slice(-2), [["d.local", "begun"], ["a.local", "ENOTFOUND"]])
      // Who has given up a call that runs has not freed its thread.
      leave[1]?.()
      assert.lengthOf(system.calls, 3)
      cache.close()
      system.of("b.local").answer(found)
      assert.deepStrictEqual([names(), system.names().length], [[], 3])
    }).pipe(Effect.scoped, leakFree))
})
