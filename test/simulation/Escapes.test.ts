/** Whatever reaches past Effect gets the simulation's time and chance, and is counted by who asked. */
import { assert, describe, it } from "@effect/vitest"
import crypto from "node:crypto"
import { clearInterval as clearNodeInterval, setInterval as setNodeInterval } from "node:timers"
import { afterAll, beforeAll } from "vitest"
import * as Escapes from "./kernel/Escapes.ts"
import { epochMillis, Kernel } from "./kernel/Kernel.ts"
import { Process } from "./kernel/Process.ts"

let uninstall: () => void

beforeAll(() => {
  uninstall = Escapes.install()
})

afterAll(() => uninstall())

const inProcess = <A>(seed: number, work: (kernel: Kernel) => A): A => {
  const kernel = new Kernel(seed)
  const answers: Array<A> = []
  new Process(kernel, "p").enter(() => answers.push(work(kernel)))
  kernel.runUntil(epochMillis + 1000)
  const [answer] = answers
  if (answer === undefined) throw new Error("it did not run")
  return answer
}

const chances: Readonly<Record<string, () => number | string>> = {
  "Math.random": () => Math.random(),
  randomBytes: () => crypto.randomBytes(8).toString("hex"),
  randomUUID: () => crypto.randomUUID(),
  getRandomValues: () => Buffer.from(globalThis.crypto.getRandomValues(new Uint8Array(8))).toString("hex")
}

describe("what escapes", () => {
  for (const [name, draw] of Object.entries(chances)) {
    it(`${name} depends on the seed alone`, () => {
      assert.strictEqual(inProcess(1, draw), inProcess(1, draw))
      assert.notStrictEqual(inProcess(1, draw), inProcess(2, draw))
      assert.notStrictEqual(draw(), draw())
    })
  }

  it("clocks stand still while a process runs", () => {
    assert.strictEqual(inProcess(1, () => Date.now()), epochMillis)
    assert.strictEqual(inProcess(1, () => new Date().getTime()), epochMillis)
    assert.strictEqual(inProcess(1, () => performance.now()), 0)
    assert.strictEqual(inProcess(1, () => process.hrtime.bigint()), 0n)
    assert.isTrue(inProcess(1, () => new Date()) instanceof Date)
    assert.strictEqual(inProcess(1, () => new Date(5).getTime()), 5)
    assert.isAbove(Date.now(), epochMillis)
  })

  it("timers go by virtual time, until they are cleared", () => {
    const at = inProcess(1, (kernel) => {
      const times: Array<readonly [string, number]> = []
      const note = (what: string) => () => void times.push([what, kernel.nowMillis - epochMillis])
      setTimeout(note("timeout"), 30)
      clearTimeout(setTimeout(note("never"), 5))
      setImmediate(note("immediate"))
      const every = setNodeInterval(note("interval"), 200)
      setTimeout(() => clearNodeInterval(every), 700)
      process.nextTick(note("tick"))
      queueMicrotask(note("microtask"))
      return times
    })
    assert.deepStrictEqual(at, [
      ["tick", 0],
      ["microtask", 0],
      ["immediate", 0],
      ["timeout", 30],
      ["interval", 200],
      ["interval", 400],
      ["interval", 600]
    ])
  })

  it("is counted by who asked, and is nobody's fault but ours", () => {
    const before = Escapes.ours().length
    inProcess(1, () => Date.now())
    assert.isTrue(
      [...Escapes.escapes.keys()].some((place) => place.startsWith("Date.now") && place.includes("Escapes.test.ts"))
    )
    Escapes.escapes.set("Date.now src/services/tasks/Made.ts:1:2", 1)
    assert.lengthOf(Escapes.ours(), before + 1)
    Escapes.escapes.delete("Date.now src/services/tasks/Made.ts:1:2")
  })

  it("is the world's when no process runs", () => {
    const before = new Map(Escapes.escapes)
    Date.now()
    Math.random()
    assert.deepStrictEqual(Escapes.escapes, before)
  })
})
