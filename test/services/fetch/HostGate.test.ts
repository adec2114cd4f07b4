/**
 * The gate of a host as the state machine that it is: every time is given.
 */
import { assert, describe, it } from "@effect/vitest"
import { HostGate, type HostLimits } from "../../../src/services/fetch/HostGate.ts"
import { HostGates } from "../../../src/services/fetch/HostGates.ts"
import { TokenBudget } from "../../../src/services/fetch/RateGate.ts"
import { defaults } from "../../support/fetch/GateRun.ts"

const limits: HostLimits = { ...defaults, breakerFailures: 3 }

/** Starts one request, which is refused at once. */
const refuse = (gate: HostGate, nowMillis: number, askedMillis?: number, of: HostLimits = limits) => {
  assert.isUndefined(gate.tryStart(of, nowMillis))
  gate.refused(of, { status: 429, askedMillis, ticket: gate.started, isAgain: false, chance: 0 }, nowMillis)
  gate.end()
}

const answer = (gate: HostGate, nowMillis: number) => {
  assert.isUndefined(gate.tryStart(limits, nowMillis))
  gate.answered(limits, nowMillis)
  gate.end()
}

/** As many at once as there is room for. */
const fill = (gate: HostGate, of: HostLimits = limits) => {
  const tickets: Array<number> = []
  while (gate.tryStart(of, 0) === undefined) tickets.push(gate.started)
  return tickets
}

describe("places", () => {
  it("are as many as the policy allows when nothing is to be found out, and who waits is woken", () => {
    const fixed = { ...limits, isAdaptive: false }
    const gate = new HostGate("a")
    assert.lengthOf(fill(gate, fixed), 16)
    assert.strictEqual(gate.tryStart(fixed, 0), Infinity)
    let woken = 0
    gate.waiting.add(() => woken++)
    gate.end()
    gate.end()
    assert.strictEqual(woken, 1)
    assert.isUndefined(gate.tryStart(fixed, 0))
  })

  it("are few at first, and twice as many after each round trip", () => {
    const gate = new HostGate("a")
    const sizes: Array<number> = []
    for (let round = 0; round < 4; round++) {
      const tickets = fill(gate)
      sizes.push(tickets.length)
      for (const _ of tickets) gate.answered(limits, 0)
      for (const _ of tickets) gate.end()
    }
    assert.deepStrictEqual(sizes, [10, 16, 16, 16])
  })

  it("are twice as many after a second in which long bodies came and nothing was refused", () => {
    const gate = new HostGate("a")
    assert.lengthOf(fill(gate), 10)
    assert.strictEqual(gate.tryStart(limits, 999), Infinity)
    assert.strictEqual(gate.widensAtMillis(limits), 1000)
    assert.isUndefined(gate.tryStart(limits, 1000))
    assert.strictEqual(gate.concurrency(limits), 16)
    assert.strictEqual(gate.widensAtMillis({ ...limits, perHost: 16 }), Infinity)
  })

  it("are never more than the policy allows", () => {
    const gate = new HostGate("a")
    const one = { ...limits, perHost: 1 }
    for (let n = 0; n < 100; n++) {
      assert.lengthOf(fill(gate, one), 1)
      gate.answered(one, n)
      gate.end()
    }
  })

  /** A gate whose sixteen places are all taken, after as many answers. */
  const wide = () => {
    const gate = new HostGate("a")
    for (let n = 0; n < 30; n++) {
      const tickets = fill(gate)
      for (const _ of tickets) gate.answered(limits, 0)
      for (const _ of tickets) gate.end()
    }
    return gate
  }

  const refuseAll = (gate: HostGate) => {
    const tickets = fill(gate)
    for (const ticket of tickets) {
      gate.refused(limits, { status: 503, askedMillis: undefined, ticket, isAgain: false, chance: 0 }, 0)
    }
    for (const _ of tickets) gate.end()
    return tickets.length
  }

  it("refusals of requests that were under way together take away a quarter once; a second round leaves one", () => {
    const gate = wide()
    assert.strictEqual(refuseAll(gate), 16)
    assert.strictEqual(gate.concurrency(limits), 12)
    assert.strictEqual(gate.shutUntilMillis, Number.NEGATIVE_INFINITY)
    assert.strictEqual(refuseAll(gate), 12)
    assert.strictEqual(gate.concurrency(limits), 1)
    assert.strictEqual(gate.shutUntilMillis, Number.NEGATIVE_INFINITY)
  })
})

describe("a host that refuses", () => {
  it("is open after a few refusals among many answers", () => {
    const gate = new HostGate("a")
    for (let n = 0; n < 1000; n++) {
      if (n % 20 === 19) refuse(gate, n)
      else answer(gate, n)
      assert.strictEqual(gate.shutUntilMillis, Number.NEGATIVE_INFINITY)
    }
    assert.strictEqual(gate.ratePerSecond(limits), Infinity)
  })

  it("rests when it refuses everything: for longer each time, and for half as long after an answer", () => {
    const gate = new HostGate("a")
    let nowMillis = 0
    while (gate.shutUntilMillis <= nowMillis) refuse(gate, nowMillis)
    assert.isBelow(gate.started, 16)
    const rests: Array<number> = []
    for (let n = 0; n < 4; n++) {
      rests.push(gate.shutUntilMillis - nowMillis)
      nowMillis = gate.tryStart(limits, nowMillis) ?? NaN
      refuse(gate, nowMillis)
    }
    assert.deepStrictEqual(rests, [1000, 2000, 4000, 8000])
    nowMillis = gate.shutUntilMillis
    answer(gate, nowMillis)
    answer(gate, nowMillis)
    for (let n = 0; n < 40 && gate.shutUntilMillis <= nowMillis; n++) refuse(gate, nowMillis += 10)
    assert.isAtMost(gate.shutUntilMillis - nowMillis, 2000)
  })

  it("rests as short as at first after a long time without a refusal", () => {
    const gate = new HostGate("a")
    let nowMillis = 0
    for (let n = 0; n < 12; n++) refuse(gate, nowMillis = Math.max(nowMillis, gate.shutUntilMillis))
    nowMillis = gate.shutUntilMillis + limits.forgiveMillis
    refuse(gate, nowMillis)
    assert.strictEqual(gate.shutUntilMillis - nowMillis, 1000)
  })

  it("has its own word kept, and only that is called its word", () => {
    const asked = new HostGate("a")
    refuse(asked, 0, 90_000)
    assert.deepStrictEqual(asked.refusal(limits, 0), { _tag: "Asked", status: 429, forMillis: 90_000 })
    assert.isUndefined(asked.refusal(limits, 40_000), "what is left is within the patience")
    assert.strictEqual(asked.tryStart(limits, 40_000), 90_000)
    assert.isUndefined(asked.tryStart(limits, 90_000))

    const silent = new HostGate("b")
    let nowMillis = 0
    while (silent.refusal(limits, nowMillis) === undefined) {
      refuse(silent, nowMillis = Math.max(nowMillis, silent.shutUntilMillis))
    }
    assert.deepStrictEqual(silent.refusal(limits, nowMillis), { _tag: "Resting", status: 429, forMillis: 64_000 })
  })

  it("that says how long is not given a rest of ours on top; one that says no time at all is", () => {
    const polite = new HostGate("a")
    for (let n = 0; n < 30; n++) refuse(polite, n * 2000, 2000)
    assert.strictEqual(polite.shutUntilMillis, 60_000)
    const rude = new HostGate("b")
    let nowMillis = 0
    for (let n = 0; n < 12; n++) refuse(rude, nowMillis = Math.max(nowMillis, rude.shutUntilMillis), 0)
    assert.isAbove(nowMillis, 1000)
  })

  it("rests under a policy that finds out nothing, too", () => {
    const fixed = { ...limits, isAdaptive: false }
    const gate = new HostGate("a")
    for (let n = 0; n < 4; n++) refuse(gate, 0, undefined, fixed)
    assert.strictEqual(gate.tryStart(fixed, 0), 1000)
    assert.isUndefined(gate.tryStart(fixed, 1000))
    assert.strictEqual(gate.tryStart(fixed, 1000), Infinity, "one at a time until it answers")
  })
})

describe("what is shown of a host", () => {
  it("is nothing but what is on the wire, while it has shown no limit", () => {
    const gate = new HostGate("a")
    fill(gate)
    assert.deepStrictEqual(gate.view(0), {
      host: "a",
      inFlight: 10,
      places: undefined,
      perSecond: undefined,
      block: undefined
    })
  })

  it("is why nothing starts, for how long still, and what it takes", () => {
    const gate = new HostGate("a")
    const nowMillis = 0
    while (gate.shutUntilMillis <= nowMillis) refuse(gate, nowMillis)
    const { block, inFlight, places } = gate.view(nowMillis + 250)
    assert.deepStrictEqual([block, inFlight, places], [{ _tag: "Resting", status: 429, forMillis: 750 }, 0, 1])
    assert.isUndefined(gate.view(nowMillis + 1000).block)
    refuse(gate, nowMillis + 1000, 5000)
    assert.deepStrictEqual(gate.view(nowMillis + 2000).block, { _tag: "Asked", status: 429, forMillis: 4000 })
    const silent = new HostGate("b")
    for (let n = 0; n < 3; n++) silent.failed(limits, 0)
    assert.deepStrictEqual(silent.view(400).block, { _tag: "Silent", forMillis: 600 })
    assert.strictEqual(silent.view(400).places, 1)
  })
})

describe("the circuit", () => {
  const fail = (gate: HostGate, nowMillis: number) => {
    assert.isUndefined(gate.tryStart(limits, nowMillis))
    gate.failed(limits, nowMillis)
    gate.end()
  }

  it("opens after failures in a row, lets one probe through, and stays open longer when that fails", () => {
    const gate = new HostGate("a")
    for (let n = 0; n < 3; n++) fail(gate, 0)
    assert.strictEqual(gate.tryStart(limits, 500), 1000)
    fail(gate, 1000)
    assert.strictEqual(gate.tryStart(limits, 1000), 3000)
    assert.isUndefined(gate.tryStart(limits, 3000))
    assert.strictEqual(gate.tryStart(limits, 3000), Infinity, "one probe at a time")
    gate.answered(limits, 3000)
    assert.isUndefined(gate.tryStart(limits, 3000))
  })

  it("an answer in between starts the count again", () => {
    const gate = new HostGate("a")
    gate.failed(limits, 0)
    gate.failed(limits, 0)
    gate.answered(limits, 0)
    gate.failed(limits, 0)
    gate.failed(limits, 0)
    assert.isUndefined(gate.tryStart(limits, 0))
  })

  it("refuses when the next probe is further away than the patience", () => {
    const gate = new HostGate("a")
    let nowMillis = 0
    while (gate.refusal(limits, nowMillis) === undefined) {
      fail(gate, nowMillis = Math.max(nowMillis, gate.shutUntilMillis))
    }
    assert.deepStrictEqual(gate.refusal(limits, nowMillis), { _tag: "Silent", forMillis: 64_000 })
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
  /** What another process makes of it. */
  const recalled = (gate: HostGate, nowMillis: number) => {
    const state = gate.remembered({ nowMillis, wallMillis: 2_000_000 })
    const other = new HostGate("a")
    if (state !== undefined) other.recall(state, { nowMillis: 50, wallMillis: 2_001_000 })
    return { state, other }
  }

  it("of a host that is well there is none", () => {
    const gate = new HostGate("a")
    assert.isUndefined(gate.remembered({ nowMillis: 0, wallMillis: 1_000_000 }))
    for (let n = 0; n < 50; n++) answer(gate, n)
    assert.isUndefined(gate.remembered({ nowMillis: 0, wallMillis: 1_000_000 }))
  })

  it("what the host has asked for goes to another process through the wall clock", () => {
    const gate = new HostGate("a")
    refuse(gate, 5000, 10_000)
    const { other, state } = recalled(gate, 6000)
    assert.strictEqual(state?.blockedUntilMillis, 2_009_000)
    assert.strictEqual(other.tryStart(limits, 50), 8050)
    assert.strictEqual(other.refusal({ ...limits, patienceMillis: 0 }, 50)?._tag, "Asked")
  })

  it("and so does a rest, as ours, with what the next would be", () => {
    const gate = new HostGate("a")
    let nowMillis = 0
    for (let n = 0; n < 16; n++) refuse(gate, nowMillis = Math.max(nowMillis, gate.shutUntilMillis))
    const restMillis = gate.shutUntilMillis - nowMillis
    const { other } = recalled(gate, nowMillis)
    assert.strictEqual(other.tryStart(limits, 50), restMillis - 950)
    assert.strictEqual(other.refusal({ ...limits, patienceMillis: 0 }, 50)?._tag, "Resting")
    assert.strictEqual(other.concurrency(limits), 1)
  })

  it("and what it takes at once", () => {
    const gate = new HostGate("a")
    const tickets = fill(gate)
    gate.answered(limits, 0)
    for (const ticket of [...tickets, 5, 6, 7]) {
      gate.refused(limits, { status: 503, askedMillis: undefined, ticket, isAgain: false, chance: 0 }, 0)
    }
    for (const _ of tickets) gate.end()
    const { other, state } = recalled(gate, 0)
    assert.strictEqual(state?.concurrency, gate.concurrency(limits))
    assert.lengthOf(fill(other), gate.concurrency(limits))
  })

  it("a state of a version that knew no rests and no rates is taken up", () => {
    const gate = new HostGate("a")
    const old = {
      blockStatus: 429,
      strikes: 2,
      struckAtMillis: 0,
      concurrency: 3,
      cooldownMillis: 0,
      openUntilMillis: 0
    }
    gate.recall({ host: "a", blockedUntilMillis: 1_001_000, ...old }, { nowMillis: 0, wallMillis: 1_000_000 })
    assert.strictEqual(gate.tryStart(limits, 0), 1000)
    assert.strictEqual(gate.concurrency(limits), 1)
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

  it("a gate that somebody holds, or that is shut, is not forgotten", () => {
    const gates = new HostGates(10)
    const held = gates.get("held", limits.forgiveMillis, 0)
    held.queued++
    const asked = gates.get("asked", limits.forgiveMillis, 0)
    refuse(asked, 0, 60_000)
    for (let n = 0; n < 100; n++) gates.get(`host-${n}`, limits.forgiveMillis, 10)
    assert.strictEqual(gates.get("held", limits.forgiveMillis, 10), held)
    assert.strictEqual(gates.get("asked", limits.forgiveMillis, 10), asked)
  })
})
