/**
 * The gate of a host as the state machine that it is: every time is given.
 */
import { assert, describe, it } from "@effect/vitest"
import { HostGate, HostGates, type HostLimits } from "../../../src/services/fetch/HostGate.ts"
import { TokenBudget } from "../../../src/services/fetch/RateGate.ts"

const limits: HostLimits = {
  perHost: 16,
  perHostRatePerSecond: Infinity,
  isAdaptive: true,
  patienceMillis: 60_000,
  baseMillis: 250,
  blockMaxMillis: 600_000,
  forgiveMillis: 600_000,
  breakerFailures: 3,
  breakerCooldownMillis: 1000,
  retryRatio: 0.2,
  retriesPerSecond: 10
}

const strike = (gate: HostGate, nowMillis: number, startedWith = 1) =>
  gate.throttled(limits, 429, undefined, nowMillis, startedWith, nowMillis, 0)

describe("concurrency", () => {
  it("gives as many places as there are, and wakes who waits", () => {
    const gate = new HostGate("a")
    for (let n = 0; n < 16; n++) assert.isUndefined(gate.tryStart(limits, 0))
    assert.strictEqual(gate.tryStart(limits, 0), Infinity)
    let woken = 0
    gate.waiting.add(() => woken++)
    gate.end()
    gate.end()
    assert.strictEqual(woken, 1)
    assert.isUndefined(gate.tryStart(limits, 0))
  })

  // A server that takes k at once and answers 429 above.
  for (const k of [1, 3, 7, 12]) {
    it(`settles at the ${k} that a server takes, from ${limits.perHost}`, () => {
      const gate = new HostGate("a")
      let nowMillis = 0
      let throttled = 0
      const inFlight: Array<{ readonly startedWith: number; readonly isRefused: boolean; readonly at: number }> = []
      for (let step = 0; step < 4000; step++) {
        nowMillis += 10
        for (const flight of inFlight.splice(0)) {
          if (flight.isRefused) {
            throttled++
            gate.throttled(limits, 429, undefined, flight.at, flight.startedWith, nowMillis, 0.5)
          } else gate.answered(limits)
        }
        while (gate.inFlight > 0) gate.end()
        while (gate.tryStart(limits, nowMillis) === undefined) {
          inFlight.push({ startedWith: gate.inFlight, isRefused: gate.inFlight > k, at: nowMillis })
        }
      }
      assert.include([k, k + 1], gate.concurrency(limits))
      // Sixteen at the start, and a probe now and then.
      assert.isBelow(throttled, 16 + 20)
    })
  }
})

describe("throttling without Retry-After", () => {
  it("blocks for longer each time, counts requests of one moment once, and is forgiven after quiet", () => {
    const gate = new HostGate("a")
    assert.strictEqual(strike(gate, 0), 125)
    assert.strictEqual(gate.throttled(limits, 429, undefined, -10, 2, 50, 0), 75)
    assert.strictEqual(gate.tryStart(limits, 100), 125)
    assert.strictEqual(strike(gate, 200), 250)
    assert.strictEqual(strike(gate, 1000), 500)
    assert.strictEqual(strike(gate, 1000 + limits.forgiveMillis + 1), 125)
  })

  it("ten answers make up for one strike", () => {
    const gate = new HostGate("a")
    strike(gate, 0)
    strike(gate, 200)
    for (let n = 0; n < 10; n++) gate.answered(limits)
    assert.strictEqual(strike(gate, 1000), 250)
  })

  it("refuses what would have to wait for longer than the patience", () => {
    const gate = new HostGate("a")
    gate.throttled(limits, 503, 90_000, 0, 1, 0, 0)
    assert.deepStrictEqual(gate.refusal(limits, 0), { _tag: "Throttled", status: 503, forMillis: 90_000 })
    assert.isUndefined(gate.refusal(limits, 40_000))
    assert.strictEqual(gate.tryStart(limits, 40_000), 90_000)
    assert.isUndefined(gate.tryStart(limits, 90_000))
  })
})

describe("the circuit", () => {
  it("opens after failures in a row, lets one probe through, and stays open longer when that fails", () => {
    const gate = new HostGate("a")
    const fail = (nowMillis: number) => {
      assert.isUndefined(gate.tryStart(limits, nowMillis))
      gate.failed(limits, nowMillis)
      gate.end()
    }
    fail(0)
    fail(0)
    fail(0)
    assert.strictEqual(gate.tryStart(limits, 500), 1000)
    fail(1000)
    assert.strictEqual(gate.tryStart(limits, 1000), 3000)
    assert.isUndefined(gate.tryStart(limits, 3000))
    assert.strictEqual(gate.tryStart(limits, 3000), Infinity, "one probe at a time")
    gate.answered(limits)
    assert.isUndefined(gate.tryStart(limits, 3000))
  })

  it("an answer in between starts the count again", () => {
    const gate = new HostGate("a")
    gate.failed(limits, 0)
    gate.failed(limits, 0)
    gate.answered(limits)
    gate.failed(limits, 0)
    gate.failed(limits, 0)
    assert.isUndefined(gate.tryStart(limits, 0))
  })

  it("refuses when the next probe is further away than the patience", () => {
    const gate = new HostGate("a")
    let nowMillis = 0
    for (let n = 0; n < 9; n++) {
      gate.failed(limits, nowMillis)
      nowMillis = gate.tryStart(limits, nowMillis) ?? nowMillis
      while (gate.inFlight > 0) gate.end()
    }
    gate.failed(limits, nowMillis)
    assert.strictEqual(gate.refusal(limits, nowMillis)?._tag, "CircuitOpen")
  })
})

describe("the retry budget", () => {
  it("is spent when a retry is decided on, and filled by requests and by time", () => {
    const budget = new TokenBudget(10)
    assert.lengthOf(Array.from({ length: 20 }, () => budget.spend(1, 0)).filter(Boolean), 10)
    assert.isFalse(budget.spend(1, 500))
    assert.isTrue(budget.spend(1, 1000))
    for (let n = 0; n < 5; n++) budget.earn(0.2)
    assert.isTrue(budget.spend(0, 1000))
    assert.isFalse(budget.spend(0, 1000))
  })
})

describe("memory", () => {
  it("what is worth keeping goes to another process through the wall clock, and comes back", () => {
    const gate = new HostGate("a")
    assert.isUndefined(gate.remembered(0, 1_000_000))
    gate.tryStart(limits, 5000)
    gate.throttled(limits, 429, 10_000, 5000, 5, 5000, 0)
    const state = gate.remembered(6000, 2_000_000)
    assert.strictEqual(state?.blockedUntilMillis, 2_009_000)
    const other = new HostGate("a")
    if (state !== undefined) other.recall(state, 50, 2_001_000)
    assert.strictEqual(other.tryStart(limits, 50), 8050)
    assert.strictEqual(other.concurrency(limits), 4)
  })

  it("a million hosts leave a small map", () => {
    const gates = new HostGates(1000)
    for (let n = 0; n < 1_000_000; n++) {
      const gate = gates.get(`host-${n}`, limits.forgiveMillis, n)
      gate.tryStart(limits, n)
      gate.end()
    }
    assert.isAtMost(gates.size, 1001)
  })

  it("a gate that somebody holds, or that is blocked, is not forgotten", () => {
    const gates = new HostGates(10)
    const held = gates.get("held", limits.forgiveMillis, 0)
    held.queued++
    const blocked = gates.get("blocked", limits.forgiveMillis, 0)
    blocked.throttled(limits, 429, 60_000, 0, 1, 0, 0)
    for (let n = 0; n < 100; n++) gates.get(`host-${n}`, limits.forgiveMillis, 10)
    assert.strictEqual(gates.get("held", limits.forgiveMillis, 10), held)
    assert.strictEqual(gates.get("blocked", limits.forgiveMillis, 10), blocked)
  })
})
