/**
 * What reaches past Effect for the real world's time or chance while a simulated process runs: it gets the simulation's, and is counted
 * by the place that asked.
 */
import crypto from "node:crypto"
import { syncBuiltinESMExports } from "node:module"
import type { Kernel, Timer } from "./Kernel.ts"
import type { Process } from "./Process.ts"
import type { SeededRandom } from "./Random.ts"

/** The process that runs now, with what its strays are served from. */
interface Running {
  readonly process: Process
  readonly kernel: Kernel
  readonly random: SeededRandom
  /** Of its own, because what has a hash already (from an earlier world) asks for no chance again. */
  readonly bytes: SeededRandom
}

let running: Running | undefined

/** `setTimeout node_modules/@effect/sql-pg/...:1555` to how often. */
export const escapes = new Map<string, number>()

const count = (what: string): void => {
  const lines = new Error("where").stack?.split("\n").slice(3) ?? []
  const line = lines.find((each) => !each.includes("/test/simulation/") && !each.includes("node:internal")) ?? "?"
  const place = line.trim().replace(/^at /, "").replace(/.*\/(node_modules|src)\//, "$1/").replace(/\)$/, "")
  const key = `${what} ${place}`
  escapes.set(key, (escapes.get(key) ?? 0) + 1)
}

/** Runs work as a process; its microtasks run before the next process has its turn. */
export const enter = (as: Running, work: () => void): void => {
  const before = running
  running = as
  try {
    work()
    for (let next = as.process.microtasks.shift(); next !== undefined; next = as.process.microtasks.shift()) next()
  } finally {
    running = before
  }
}

type Handle = Timer & { ref: () => Handle; unref: () => Handle; hasRef: () => boolean }

const handleOf = (timer: Timer): Handle => {
  const handle: Handle = Object.assign(timer, { ref: () => handle, unref: () => handle, hasRef: () => true })
  return handle
}

const isTimer = (value: unknown): value is Timer =>
  typeof value === "object" && value !== null && "isCancelled" in value && "fire" in value

const real = {
  setTimeout: globalThis.setTimeout,
  clearTimeout: globalThis.clearTimeout,
  setImmediate: globalThis.setImmediate,
  queueMicrotask: globalThis.queueMicrotask,
  now: Date.now,
  random: Math.random,
  randomBytes: crypto.randomBytes
}

/** Puts the simulation between the process and the world; gives back how to take it away again. */
export const install = (): () => void => {
  const later = (what: string, millis: number, work: () => void): Handle | undefined => {
    if (running === undefined) return undefined
    count(what)
    return handleOf(running.kernel.after(millis, running.process, work))
  }
  Object.assign(globalThis, {
    setTimeout: (work: (...given: ReadonlyArray<unknown>) => void, millis = 0, ...given: ReadonlyArray<unknown>) =>
      later("setTimeout", millis, () => work(...given)) ?? real.setTimeout(work, millis, ...given),
    clearTimeout: (timer: unknown) => {
      if (isTimer(timer)) timer.isCancelled = true
      else Reflect.apply(real.clearTimeout, globalThis, [timer])
    },
    setImmediate: (work: (...given: ReadonlyArray<unknown>) => void, ...given: ReadonlyArray<unknown>) =>
      later("setImmediate", 0, () => work(...given)) ?? real.setImmediate(work, ...given),
    queueMicrotask: (work: () => void) => {
      if (running === undefined) return real.queueMicrotask(work)
      count("queueMicrotask")
      running.process.microtasks.push(work)
    }
  })
  Date.now = () => {
    if (running === undefined) return real.now()
    count("Date.now")
    return running.process.clockMillis
  }
  Math.random = () => {
    if (running === undefined) return real.random()
    count("Math.random")
    return running.random.float()
  }
  Object.assign(crypto, {
    randomBytes: (size: number) => {
      if (running === undefined) return real.randomBytes(size)
      count("randomBytes")
      const { bytes } = running
      return Buffer.from(Array.from({ length: size }, () => bytes.below(256)))
    }
  })
  syncBuiltinESMExports()
  return () => {
    Object.assign(globalThis, {
      setTimeout: real.setTimeout,
      clearTimeout: real.clearTimeout,
      setImmediate: real.setImmediate,
      queueMicrotask: real.queueMicrotask
    })
    Date.now = real.now
    Math.random = real.random
    Object.assign(crypto, { randomBytes: real.randomBytes })
    syncBuiltinESMExports()
  }
}
