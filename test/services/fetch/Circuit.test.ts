import { assert, describe, it } from "@effect/vitest"
import { Circuit } from "../../../src/services/fetch/Circuit.ts"

const limits = { breakerFailures: 3, breakerCooldownMillis: 1000 }

const opened = () => {
  const circuit = new Circuit()
  for (let n = 0; n < 3; n++) circuit.failed(limits, 0)
  return circuit
}

describe("Circuit", () => {
  it("opens with the third failure in a row, and an answer begins the count anew", () => {
    const circuit = new Circuit()
    for (const end of ["failed", "failed", "answered", "failed", "failed"]) {
      if (end === "failed") circuit.failed(limits, 10)
      else circuit.answered()
      assert.isFalse(circuit.isProbing)
    }
    circuit.failed(limits, 10)
    assert.deepStrictEqual([circuit.isProbing, circuit.openUntilMillis], [true, 1010])
  })

  it("those that were under way when it opened are no probes", () => {
    const circuit = opened()
    for (let n = 0; n < 5; n++) circuit.failed(limits, 500)
    assert.deepStrictEqual([circuit.cooldownMillis, circuit.openUntilMillis], [1000, 1000])
  })

  it("each probe that fails doubles it, up to five minutes; an answer closes it", () => {
    const circuit = opened()
    const seen = Array.from({ length: 10 }, () => {
      circuit.failed(limits, circuit.openUntilMillis)
      return circuit.cooldownMillis / 1000
    })
    assert.deepStrictEqual(seen, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300])
    circuit.answered()
    assert.isFalse(circuit.isProbing)
    circuit.failed(limits, circuit.openUntilMillis)
    assert.isFalse(circuit.isProbing, "one failure opens it no more")
  })

  it("is remembered until nobody would probe as seldom any more", () => {
    const circuit = opened()
    assert.isFalse(circuit.isFresh(300_999))
    assert.isTrue(circuit.isFresh(301_000))
    assert.isTrue(new Circuit().isFresh(0))
  })

  it("takes up what is stricter", () => {
    const circuit = opened()
    circuit.recall(500, 2000)
    assert.deepStrictEqual([circuit.cooldownMillis, circuit.openUntilMillis], [1000, 2000])
    circuit.recall(4000, 10)
    assert.deepStrictEqual([circuit.cooldownMillis, circuit.openUntilMillis], [4000, 2000])
  })
})
