/**
 * What reaches past Effect for the real world's time or chance while a simulated process runs: it gets the simulation's, and is counted
 * by the place that asked.
 */
import crypto from "node:crypto"
import { syncBuiltinESMExports } from "node:module"
import timers from "node:timers"
import { epochMillis, type Kernel, type Timer } from "./Kernel.ts"
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

/**
 * Those of ours: what under `src` asks the real world is a fault of it. Promises are not seen: what they do is in
 * order, and asks nothing.
 */
export const ours = (): ReadonlyArray<readonly [place: string, times: number]> =>
  [...escapes].filter(([place]) => / src\//.test(place))

const isHere = (line: string): boolean => line.includes("/test/simulation/kernel/") || line.includes("node:internal")

const count = (what: string): void => {
  const line = new Error("where").stack?.split("\n").slice(1).find((each) => !isHere(each)) ?? "?"
  const place = line.trim().replace(/^at /, "").replace(/.*\/(node_modules|src|test)\//, "$1/").replace(/\)$/, "")
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

type Work = (...given: ReadonlyArray<unknown>) => void

/** What stood there before, and stands there again at the end. */
const undo: Array<() => void> = []

const replace = (of: object, members: Readonly<Record<string, unknown>>): void => {
  const before = Object.fromEntries(Object.keys(members).map((name) => [name, Reflect.get(of, name)]))
  undo.push(() => Object.assign(of, before))
  Object.assign(of, members)
}

/** Counted and served by the process that runs; by the world, when none does. */
const served = <Given extends ReadonlyArray<unknown>, A>(
  what: string,
  real: (...given: Given) => A,
  serve: (as: Running, ...given: Given) => A
) =>
(...given: Given): A => {
  if (running === undefined) return real(...given)
  count(what)
  return serve(running, ...given)
}

const replaceTimers = (): void => {
  const later = ({ kernel, process }: Running, millis: number, work: () => void) =>
    handleOf(kernel.after(millis, process, work))
  const again = (as: Running, millis: number, work: () => void) => {
    const next = (): void => {
      work()
      if (!handle.isCancelled) Object.assign(handle, { following: later(as, millis, next) })
    }
    const handle: Handle & { following?: Handle } = later(as, millis, next)
    return handle
  }
  const stop = (timer: unknown): void => {
    if (!isTimer(timer)) return
    timer.isCancelled = true
    const following: unknown = Reflect.get(timer, "following")
    if (isTimer(following)) stop(following)
  }
  const ending = (real: (timer: never) => void) => (timer: unknown): void =>
    isTimer(timer) ? stop(timer) : Reflect.apply(real, globalThis, [timer])
  for (const host of [globalThis, timers]) {
    const { clearImmediate, clearInterval, clearTimeout, setImmediate, setInterval, setTimeout } = host
    replace(host, {
      setTimeout: served<[Work, number?, ...ReadonlyArray<unknown>], unknown>(
        "setTimeout",
        setTimeout,
        (as, work, millis = 0, ...given) => later(as, millis, () => work(...given))
      ),
      setInterval: served<[Work, number?, ...ReadonlyArray<unknown>], unknown>(
        "setInterval",
        setInterval,
        (as, work, millis = 0, ...given) => again(as, Math.max(1, millis), () => work(...given))
      ),
      setImmediate: served<[Work, ...ReadonlyArray<unknown>], unknown>(
        "setImmediate",
        setImmediate,
        (as, work, ...given) => later(as, 0, () => work(...given))
      ),
      clearTimeout: ending(clearTimeout),
      clearInterval: ending(clearInterval),
      clearImmediate: ending(clearImmediate)
    })
  }
}

const replaceClocks = (): void => {
  const { Date, performance } = globalThis
  const { now } = Date
  const monotonic = ({ kernel }: Running): number => kernel.nowMillis - epochMillis
  replace(Date, { now: served("Date.now", now, ({ process }) => process.clockMillis) })
  const real = performance.now.bind(performance)
  replace(performance, { now: served("performance.now", real, monotonic) })
  const nanos = process.hrtime.bigint.bind(process.hrtime)
  replace(process.hrtime, {
    bigint: served("process.hrtime", nanos, (as) => BigInt(Math.floor(monotonic(as) * 1e6)))
  })
  replace(globalThis, {
    Date: new Proxy(Date, {
      construct: (target, given, as) => {
        if (given.length > 0 || running === undefined) return Reflect.construct(target, given, as)
        count("new Date()")
        return Reflect.construct(target, [running.process.clockMillis], as)
      }
    })
  })
}

const replaceChance = (): void => {
  const bytesOf = ({ bytes }: Running, size: number): Buffer =>
    Buffer.from(Array.from({ length: size }, () => bytes.below(256)))
  const uuid = (as: Running): string => {
    const hex = bytesOf(as, 16).toString("hex")
    const variant = "89ab"[as.bytes.below(4)]
    return [hex.slice(0, 8), hex.slice(8, 12), `4${hex.slice(13, 16)}`, `${variant}${hex.slice(17, 20)}`, hex.slice(20)]
      .join("-")
  }
  replace(Math, { random: served("Math.random", Math.random, ({ random }) => random.float()) })
  const { randomBytes, randomUUID } = crypto
  replace(crypto, {
    randomBytes: served<[number], Buffer>("randomBytes", randomBytes, bytesOf),
    randomUUID: served("randomUUID", () => randomUUID(), uuid)
  })
  const web = globalThis.crypto
  const [fill, webUuid] = [web.getRandomValues.bind(web), web.randomUUID.bind(web)]
  replace(web, {
    getRandomValues: served<[Uint8Array], Uint8Array>("getRandomValues", (into) => {
      fill(into)
      return into
    }, (as, into) => {
      new Uint8Array(into.buffer, into.byteOffset, into.byteLength).set(bytesOf(as, into.byteLength))
      return into
    }),
    randomUUID: served<[], string>("randomUUID", webUuid, uuid)
  })
}

const replaceTurns = (): void => {
  const queue = ({ process }: Running, work: Work, ...given: ReadonlyArray<unknown>): void =>
    void process.microtasks.push(() => work(...given))
  replace(globalThis, { queueMicrotask: served<[Work], void>("queueMicrotask", globalThis.queueMicrotask, queue) })
  const nextTick = process.nextTick.bind(process)
  replace(process, { nextTick: served<[Work, ...ReadonlyArray<unknown>], void>("nextTick", nextTick, queue) })
}

/** Puts the simulation between the process and the world; gives back how to take it away again. */
export const install = (): () => void => {
  replaceTimers()
  replaceClocks()
  replaceChance()
  replaceTurns()
  syncBuiltinESMExports()
  return () => {
    for (const each of undo.splice(0).toReversed()) each()
    syncBuiltinESMExports()
  }
}
