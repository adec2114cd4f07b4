/**
 * The job wing (queue, workers, and whatever store there is), three workers and a producer, under strikes. The checker knows nothing of
 * how it works: only what was accepted, and what became of it.
 */
import { Effect, Layer, Schedule, Schema } from "effect"
import * as Worker from "../../../src/layers/jobs/worker/Worker.ts"
import * as Job from "../../../src/services/jobs/Job.ts"
import { JobAdmin } from "../../../src/services/jobs/JobAdmin.ts"
import * as JobHandler from "../../../src/services/jobs/JobHandler.ts"
import { JobQueue } from "../../../src/services/jobs/JobQueue.ts"
import type { Process } from "../kernel/Process.ts"
import { EffectTable, shelves, type Store } from "../levels/Level.ts"
import type { Strike } from "../Nemesis.ts"
import type { Scene } from "../Scene.ts"
import type { World } from "../World.ts"

const options = {
  payload: Schema.Struct({ n: Schema.Int }),
  retry: Schedule.spaced("200 millis"),
  maxAttempts: 1000,
  timeout: "20 seconds"
} as const
const Effects = Job.make("sim.effects", options)
const Shelves = Job.make("sim.shelves", options)
const Keyed = Job.make("sim.keyed", options)
const Plain = Job.make("sim.plain", options)
/** Ends among the dead letters, more often than not. */
const Mortal = Job.make("sim.mortal", { ...options, maxAttempts: 2 })
const kinds = [
  ["effects", Effects],
  ["shelves", Shelves],
  ["keyed", Keyed],
  ["plain", Plain],
  ["mortal", Mortal]
] as const

class NotThisTime extends Schema.TaggedError<NotThisTime>()("NotThisTime", {}) {}

const keys = 4

/** Jobs for workers who have nothing to do, when all has been well for a while. */
const firstProbe = 1_000_000
const probes = 8
const probeEveryMillis = 2300
const probeAfterMillis = 35_000
/** Long before they would look by themselves, which they do every second. */
const wakeMillis = 450

const handlersOf = ({ random }: Process, done: Map<number, number>, nowMillis: () => number) =>
  Effect.map(EffectTable, (table) => {
    const pause = (rarely: number, millis: number) =>
      Effect.suspend(() => Effect.sleep(random.float() * (random.chance(rarely) ? millis : 20)))
    const once = (kind: string, unlucky: number) => ({ n }: { readonly n: number }) =>
      Effect.gen(function*() {
        yield* pause(0.1, 3000)
        if (random.chance(unlucky)) return yield* new NotThisTime()
        return yield* table.write([{ n, kind, key: null }])
      })
    return [
      JobHandler.transactional(Effects, once("effects", 0.05), { maxGroup: 4 }),
      JobHandler.transactional(Mortal, once("mortal", 0.6)),
      JobHandler.batch(Shelves, (items) =>
        Effect.gen(function*() {
          yield* pause(0.2, 6000)
          const wanted = items.flatMap(({ payload: { n } }) => [n % shelves, (n * 7 + 1) % shelves])
          yield* table.write(items.map(({ payload: { n } }) => ({ n, kind: "shelves", key: null })), wanted)
        }), { maxSize: 8, settle: "first" }),
      JobHandler.transactional(
        Keyed,
        ({ n }) => Effect.andThen(pause(0.1, 3000), table.write([{ n, kind: "keyed", key: n % keys }]))
      ),
      JobHandler.plain(Plain, ({ n }) =>
        Effect.gen(function*() {
          if (n < firstProbe) {
            yield* pause(0.1, 3000)
          }
          done.set(n, nowMillis())
        }))
    ]
  })

/** What was promised, and how it may end. */
interface Promised {
  readonly kind: typeof kinds[number][0]
  readonly n: number
  readonly id: Job.JobId
}

interface Ledger {
  readonly promised: Map<number, Promised>
  /** Somebody has asked to cancel them: they have an effect or not. */
  readonly cancelled: Set<number>
  /** When each plain job ran to its end, the last time. */
  readonly done: Map<number, number>
}

const work = (world: World, process: Process, { done }: Ledger): void => {
  const worker = Layer.unwrap(
    Effect.map(
      handlersOf(process, done, () => world.kernel.nowMillis),
      (handlers) => Worker.layer(handlers, { concurrency: 4, transactions: 2, label: process.name })
    )
  ).pipe(
    Layer.provide(world.store.jobs(process))
  )
  process.run(Effect.retry(Layer.launch(worker), Schedule.spaced("500 millis")))
}

/** Enqueues a few now and then; what is answered is accepted, what is not may or may not have happened. */
const produce = (world: World, { done, promised }: Ledger): void => {
  const process = world.bystander("producer")
  const { random } = process
  let offered = 0
  const program = Effect.gen(function*() {
    const queue = yield* JobQueue
    while (world.kernel.nowMillis < world.endMillis) {
      const [name, kind] = random.pick(kinds)
      const payloads = Array.from({ length: 1 + random.below(5) }, () => ({ n: offered++ }))
      const options = name === "keyed" ? (n: number) => ({ key: `k${n % keys}` }) : () => undefined
      const enqueue = name === "effects"
        ? queue.enqueueMany(kind, payloads)
        : Effect.forEach(payloads, (payload) => queue.enqueue(kind, payload, options(payload.n)))
      yield* Effect.match(enqueue, {
        onFailure: () => undefined,
        onSuccess: (ids) => {
          for (const [at, id] of ids.entries()) {
            const n = payloads[at]?.n ?? -1
            promised.set(n, { kind: name, n, id })
          }
        }
      })
      yield* Effect.sleep(random.float() * 4000)
    }
  })
  const probe = Effect.gen(function*() {
    const queue = yield* JobQueue
    yield* Effect.sleep(world.endMillis + probeAfterMillis - world.kernel.nowMillis)
    for (let n = firstProbe; n < firstProbe + probes; n++) {
      const id = yield* Effect.orDie(queue.enqueue(Plain, { n }))
      promised.set(n, { kind: "plain", n, id })
      const at = world.kernel.nowMillis
      yield* Effect.sleep(probeEveryMillis)
      const millis = (done.get(n) ?? Infinity) - at
      if (millis > wakeMillis) {
        world.wrong.add(`a job for workers that slept was done ${millis.toFixed(0)} ms after it was accepted`)
      }
    }
  })
  const app = world.store.jobs(process)
  process.run(Effect.provide(Effect.andThen(program, probe), app))
}

const queueName = Effects.queue

/** What operators do. What holds the queue up is taken back, however often that has to be tried. */
const operate = (world: World, strike: Strike, { cancelled, promised }: Ledger): void => {
  const process = world.bystander(`operator${strike.atMillis}`)
  const patiently = { schedule: Schedule.spaced("500 millis"), times: 200 }
  const moves = [
    Effect.gen(function*() {
      const admin = yield* JobAdmin
      yield* Effect.retry(admin.pause(queueName), patiently)
      yield* Effect.sleep(strike.forMillis)
      yield* Effect.retry(admin.resume(queueName), patiently)
    }),
    Effect.gen(function*() {
      const admin = yield* JobAdmin
      yield* Effect.retry(admin.setRate(queueName, 1 + Math.round(strike.extent * 30)), patiently)
      yield* Effect.sleep(strike.forMillis)
      yield* Effect.retry(admin.setRate(queueName, null), patiently)
    }),
    Effect.gen(function*() {
      const admin = yield* JobAdmin
      yield* admin.redrive({ limit: 20 }, strike.extent < 0.5 ? {} : { ratePerSecond: 10 })
    }),
    Effect.gen(function*() {
      const queue = yield* JobQueue
      for (const { id, n } of [...promised.values()].slice(-4)) {
        cancelled.add(n)
        yield* Effect.ignore(queue.cancel(id))
      }
    })
  ] as const
  process.run(
    Effect.provide(
      Effect.ignore(process.random.pick(moves)),
      world.store.jobs(process)
    )
  )
}

/** Three workers, one producer. */
export const scene: Scene = {
  name: "jobs",
  slots: 3,
  settleSeconds: 60,
  play: () => {
    const ledger: Ledger = { promised: new Map(), cancelled: new Set(), done: new Map() }
    return {
      boot: (world, process) => work(world, process, ledger),
      begin: (world) => produce(world, ledger),
      operate: (world, strike) => operate(world, strike, ledger),
      accepted: () => ledger.promised.size,
      check: ({ inspect }) => check(inspect, ledger)
    }
  }
}

const check = (inspect: Store["inspect"], { cancelled, done, promised }: Ledger): ReadonlyArray<string> => {
  const wrong: Array<string> = []
  const effects = inspect.effects()
  const counts = new Map<number, number>()
  for (const { n } of effects) counts.set(n, (counts.get(n) ?? 0) + 1)
  for (const [n, count] of counts) if (count !== 1) wrong.push(`the effect of job ${n} happened ${count} times`)
  const dead = inspect.deadJobs()
  const deadIds = new Set(dead.map(({ id }) => id))
  for (const { id, kind, n } of promised.values()) {
    const isDead = deadIds.has(id)
    if (isDead && kind !== "mortal") {
      wrong.push(`accepted job ${n} (${kind}) is dead: ${dead.find((job) => job.id === id)?.problem}`)
    }
    if (isDead && counts.has(n)) wrong.push(`accepted job ${n} (${kind}) is dead and had its effect`)
    const hasEnded = kind === "plain" ? done.has(n) : counts.has(n)
    if (!hasEnded && !isDead && !cancelled.has(n)) wrong.push(`accepted job ${n} (${kind}) had no effect`)
  }
  for (const { attempt, id, kind, state, worker } of inspect.liveJobs()) {
    wrong.push(
      `job ${id} (${kind}) is left ${state} after attempt ${attempt}${worker === null ? "" : ` at worker ${worker}`}`
    )
  }
  const due = 2 * effects.filter(({ kind }) => kind === "shelves").length
  if (inspect.shelved() !== due) wrong.push(`the shelves say ${inspect.shelved()} and not ${due}`)
  for (const { queue, ready, running } of inspect.counters()) {
    if (running !== 0 || ready !== 0) wrong.push(`the counters of ${queue} say ${running} running, ${ready} ready`)
  }
  const last = new Map<number, number>()
  for (const { key, n } of effects) {
    if (key === null) continue
    if (n < (last.get(key) ?? -1)) wrong.push(`key ${key}: job ${n} ran after job ${last.get(key)}`)
    last.set(key, n)
  }
  return wrong
}
