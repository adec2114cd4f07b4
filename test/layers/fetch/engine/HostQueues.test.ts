/**
 * The queues of hosts against a model of them: arrays that are searched.
 */
import { assert, describe, it } from "@effect/vitest"
import { Context, Result } from "effect"
import * as Call from "../../../../src/layers/fetch/engine/Call.ts"
import { HostQueues } from "../../../../src/layers/fetch/engine/HostQueues.ts"
import * as Limits from "../../../../src/layers/fetch/engine/Limits.ts"
import * as FetchPolicy from "../../../../src/services/fetch/FetchPolicy.ts"
import { parseTarget } from "../../../../src/services/fetch/FetchRequest.ts"
import { HostGate } from "../../../../src/services/fetch/HostGate.ts"
import { random } from "../../../support/Random.ts"

const limits = Limits.of(FetchPolicy.defaults)

const callTo = (host: string): Call.Call =>
  Call.make({
    target: Result.getOrThrow(parseTarget({ url: `http://${host}/` })),
    limits,
    wants: { store: undefined, keeps: false, cutBytes: undefined },
    context: Context.empty(),
    settle: () => {}
  })

const hosts = ["a.test", "b.test", "c.test", "d.test"]

const run = (seed: number) => {
  const chance = random(seed)
  const queues = new HostQueues()
  const gates = new Map(hosts.map((host) => [host, new HostGate(host)]))
  const model = new Map(hosts.map((host): [string, Array<Call.Call>] => [host, []]))
  const shut = new Set<string>()
  const callsOf = (host: string) => model.get(host) ?? []
  const check = () => {
    const lengths = hosts.map((host) => callsOf(host).length)
    assert.strictEqual(queues.length, lengths.reduce((sum, length) => sum + length))
    assert.strictEqual(
      queues.openLength,
      hosts.reduce((sum, host) => sum + (shut.has(host) ? 0 : callsOf(host).length), 0)
    )
    assert.deepStrictEqual(
      [...gates.values()].map(({ queued }) => queued),
      lengths.map((length) => Math.min(1, length))
    )
    assert.deepStrictEqual([...queues.shut].toSorted(), [...shut].toSorted())
  }
  for (let step = 0; step < 300; step++) {
    const host = hosts[Math.floor(chance() * hosts.length)] ?? ""
    const act = chance()
    if (act < 0.4) {
      const call = callTo(host)
      const isFront = chance() < 0.3
      const gate = gates.get(host)
      if (gate !== undefined) queues.push(queues.of(host) ?? queues.open(gate), call, isFront)
      if (isFront) callsOf(host).unshift(call)
      else callsOf(host).push(call)
    } else if (act < 0.75) {
      const queue = queues.takeTurn()
      assert.strictEqual(queue !== undefined, queues.openLength > 0, "whoever may start something has a turn")
      if (queue !== undefined) assert.strictEqual(queues.shift(queue), callsOf(queue.gate.host).shift())
    } else if (act < 0.85) {
      queues.shutHost(host)
      shut.add(host)
    } else if (act < 0.95) {
      queues.unshut(host)
      shut.delete(host)
    } else {
      for (const each of hosts) {
        for (const call of callsOf(each)) call.isCancelled = chance() < 0.5
        model.set(each, callsOf(each).filter(({ isCancelled }) => !isCancelled))
      }
      queues.dropCancelled()
    }
    check()
  }
  queues.clear()
  assert.isTrue([...gates.values()].every(({ queued }) => queued === 0))
}

describe("HostQueues", () => {
  it("counts, order and turns are those of the model, whatever happens in which order", () => {
    for (let seed = 1; seed <= 200; seed++) run(seed)
  })

  it("hosts take turns, however long the queue of one is", () => {
    const queues = new HostQueues()
    for (const [host, count] of [["a.test", 5], ["b.test", 2], ["c.test", 1]] as const) {
      const queue = queues.open(new HostGate(host))
      for (let n = 0; n < count; n++) queues.push(queue, callTo(host), false)
    }
    const turns: Array<string> = []
    for (let queue = queues.takeTurn(); queue !== undefined; queue = queues.takeTurn()) {
      turns.push(queues.shift(queue)?.target.host.slice(0, 1) ?? "?")
    }
    assert.strictEqual(turns.join(""), "abcabaaa")
  })
})
