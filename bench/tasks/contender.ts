/** One measurement in a process of its own: `node --expose-gc contender.ts <figure> <contender> <size>` prints a number. */
import { Effect, Fiber, Semaphore } from "effect"
import pLimit from "p-limit"
import PQueue from "p-queue"
import * as NodeLoopMonitor from "../../src/layers/tasks/NodeLoopMonitor.ts"
import * as WorkerThreads from "../../src/layers/tasks/WorkerThreads.ts"
import * as Deadline from "../../src/services/tasks/Deadline.ts"
import * as FairSemaphore from "../../src/services/tasks/FairSemaphore.ts"
import * as FanOut from "../../src/services/tasks/FanOut.ts"
import { LoopMonitor } from "../../src/services/tasks/LoopMonitor.ts"
import { Offload } from "../../src/services/tasks/Offload.ts"
import * as Tasks from "../../src/services/tasks/Tasks.ts"
import { half } from "../../test/support/offloadJobs.ts"

const concurrency = 100
const [figure = "", contender = "", size = "100000"] = process.argv.slice(2)
const n = Number(size)
const items = Array.from({ length: n }, (_, i) => i)

const turn = () => new Promise<void>((resolve) => setImmediate(resolve))
const promiseJobs: Record<string, (i: number) => Promise<number>> = {
  "settled promise": (i) => Promise.resolve(i),
  "turn of the loop": (i) => turn().then(() => i)
}
const jobOf = (name: string) => {
  const job = promiseJobs[name]
  if (job === undefined) throw new Error(`no job ${name}`)
  return { job, effect: (i: number) => Effect.promise(() => job(i)) }
}

/** Microseconds for each task of a fan-out. */
const perTask = (name: string): Record<string, () => Promise<unknown>> => {
  const { effect, job } = jobOf(name)
  return {
    "p-limit": () => {
      const limit = pLimit(concurrency)
      return Promise.all(items.map((i) => limit(() => job(i))))
    },
    "p-queue": () => {
      const queue = new PQueue({ concurrency })
      return Promise.all(items.map((i) => queue.add(() => job(i))))
    },
    "Effect.forEach": () => Effect.runPromise(Effect.forEach(items, effect, { concurrency })),
    "sluice": () =>
      Effect.runPromise(
        FanOut.forEach(items, effect, { concurrency, name: "bench", taskName: (i) => `job ${i}` }).pipe(
          Deadline.within("1 hour")
        )
      )
  }
}

const micros = async (run: () => Promise<unknown>): Promise<number> => {
  await run()
  const start = performance.now()
  await run()
  return (performance.now() - start) * 1000 / n
}

const heap = (): number => {
  globalThis.gc?.()
  globalThis.gc?.()
  return process.memoryUsage().heapUsed
}

interface HasPermits {
  readonly withPermit: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

const withPermitOf = (semaphore: HasPermits) => <A, E, R>(self: Effect.Effect<A, E, R>) => semaphore.withPermit(self)

/** Bytes for each task that waits for its turn. */
const perWaiter: Record<string, () => Promise<number>> = {
  "p-limit": async () => {
    const before = heap()
    const limit = pLimit(1)
    const running = items.map((i) => limit(() => i === 0 ? new Promise(() => {}) : Promise.resolve(i)))
    await turn()
    return (heap() - before) / running.length
  },
  "Effect fibers on a Semaphore": () => waiters(Effect.map(Semaphore.make(1), withPermitOf)),
  "sluice fibers on a FairSemaphore": () => waiters(Effect.map(FairSemaphore.make(1), withPermitOf)),
  "sluice FanOut": async () => {
    const before = heap()
    const fiber = Effect.runFork(FanOut.forEachDiscard(items, () => Effect.never, { concurrency }))
    await turn()
    const after = heap()
    await Effect.runPromise(Fiber.interrupt(fiber))
    return (after - before) / n
  }
}

const waiters = async (
  make: Effect.Effect<<A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>>
): Promise<number> => {
  const withPermit = await Effect.runPromise(make)
  const before = heap()
  const fibers = items.map(() => Effect.runFork(withPermit(Effect.never)))
  await turn()
  return (heap() - before) / fibers.length
}

/** Microseconds for each permit that is waited for, used and given back, all n waiters in line. */
const perPermit: Record<string, () => Promise<number>> = {
  "Effect Semaphore": () => permits(Effect.map(Semaphore.make(10), withPermitOf)),
  "sluice FairSemaphore": () => permits(Effect.map(FairSemaphore.make(10), withPermitOf))
}

const permits = async (
  make: Effect.Effect<<A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>>
): Promise<number> => {
  const withPermit = await Effect.runPromise(make)
  return micros(() =>
    Effect.runPromise(
      Effect.forEach(items, () => withPermit(Effect.yieldNow), { concurrency: "unbounded", discard: true })
    )
  )
}

/** What the parts that are always on cost. */
const overhead: Record<string, () => Promise<number>> = {
  "named task, us": async () => {
    const work = (self: Effect.Effect<void>) => Effect.forEach(items, () => self, { discard: true })
    const plain = await micros(() => Effect.runPromise(work(Effect.yieldNow)))
    const named = await micros(() => Effect.runPromise(work(Tasks.named("fetch")(Effect.yieldNow))))
    return named - plain
  },
  "loop monitor of an idle process, % of a core": () =>
    Effect.runPromise(
      Effect.gen(function*() {
        yield* LoopMonitor
        yield* Effect.sleep(500)
        const before = process.cpuUsage()
        yield* Effect.sleep(4000)
        const { system, user } = process.cpuUsage(before)
        return (system + user) / 4_000_000 * 100
      }).pipe(Effect.provide(NodeLoopMonitor.layer({ log: false })))
    ),
  "offload round trip, us": () =>
    Effect.runPromise(
      Effect.gen(function*() {
        const offload = yield* Offload
        yield* offload.run(half, 2)
        const start = performance.now()
        for (let i = 0; i < 2000; i++) yield* offload.run(half, 2)
        return (performance.now() - start) * 1000 / 2000
      }).pipe(Effect.provide(WorkerThreads.layer({ threads: 1 })))
    )
}

const measure = (): Promise<number> => {
  if (figure === "waiter") return perWaiter[contender]?.() ?? Promise.reject(new Error(contender))
  if (figure === "permit") return perPermit[contender]?.() ?? Promise.reject(new Error(contender))
  if (figure === "overhead") return overhead[contender]?.() ?? Promise.reject(new Error(contender))
  const run = perTask(figure)[contender]
  return run === undefined ? Promise.reject(new Error(contender)) : micros(run)
}

console.log(String(await measure()))
process.exit(0)
