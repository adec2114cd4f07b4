/** The fetch wing: three processes fetch the same lists, run after run, from hosts of every temperament. */
import { Duration, Effect, Layer, Result, Schedule, Stream } from "effect"
import * as HttpFetcher from "../../../src/layers/fetch/HttpFetcher.ts"
import { fetchRun } from "../../../src/programs/fetch/FetchRun.ts"
import { RunMeter } from "../../../src/programs/fetch/RunMeter.ts"
import * as FetchPolicy from "../../../src/services/fetch/FetchPolicy.ts"
import * as FetchRequest from "../../../src/services/fetch/FetchRequest.ts"
import type { Process } from "../kernel/Process.ts"
import type { SeededRandom } from "../kernel/Random.ts"
import type { Store } from "../levels/Level.ts"
import type { Scene } from "../Scene.ts"
import type { World } from "../World.ts"
import { Origin, temperaments } from "./Origin.ts"

const politeness = { perHost: 3, perSecond: 8 }

const policy = FetchPolicy.make({
  concurrency: 24,
  perHost: politeness.perHost,
  perHostRatePerSecond: politeness.perSecond,
  timeouts: {
    connect: Duration.seconds(1),
    headers: Duration.seconds(2),
    idle: Duration.seconds(2),
    attempt: Duration.seconds(5),
    total: Duration.seconds(20)
  },
  retry: { times: 2, cap: Duration.seconds(2), patience: Duration.seconds(5) },
  hosts: { blockMax: Duration.seconds(4), breakerFailures: 4 },
  denyPrivate: false
})

/** A new run begins so often. */
const runEveryMillis = 15_000

/** One run and what it has to fetch. */
interface List {
  readonly name: string
  readonly urls: ReadonlyArray<string>
}

const hostCount = 6

const listsOf = (random: SeededRandom, seconds: number): ReadonlyArray<List> =>
  Array.from({ length: Math.ceil(seconds * 1000 / runEveryMillis) }, (_, at) => ({
    name: `run-${at}`,
    urls: Array.from(
      { length: 20 + random.below(60) },
      (_, page) => `https://h${random.below(hostCount)}.test/${at}-${page}`
    )
  }))

/** Failures that say when a host may be asked again, and which a run keeps of it. */
const shutTags: ReadonlySet<string> = new Set(["RetryAfterTooLong"])

const inputOf = ({ urls }: List) =>
  Stream.fromIterable(urls.flatMap((url) => {
    const target = FetchRequest.parseTarget({ url })
    return Result.isSuccess(target) ? [Result.succeed(target.success)] : []
  }))

/** Everything that the world of one seed has besides its processes. */
interface Web {
  readonly origin: Origin
  readonly lists: ReadonlyArray<List>
}

/** A run outlasts what its database goes through; only a full disk may end it. */
const told = (world: World, process: Process, list: List) => (error: unknown) =>
  Effect.sync(() => {
    if (world.store.isWaitedFor && !world.hasPlanned("53100")) {
      world.wrong.add(`${list.name} ended in ${process.name}: ${String(error)}`)
    }
  })

const fetchAll = (world: World, process: Process, { lists, origin }: Web): void => {
  const clocksAreRight = !world.hasPlanned("jump") && !world.hasPlanned("drift")
  const start = world.endMillis - lists.length * runEveryMillis
  const one = (list: List) =>
    fetchRun({
      name: list.name,
      inputs: inputOf(list),
      headers: { "x-run": list.name },
      output: {
        flush: Effect.void,
        write: (outcomes) =>
          Effect.sync(() => {
            for (const { error, ok, url } of outcomes) {
              origin.told(list.name, url, ok, error !== null && shutTags.has(error._tag))
            }
          })
      },
      onMalformed: () => Effect.void,
      meter: new RunMeter(process.clockMillis)
    }).pipe(Effect.provideService(FetchPolicy.FetchPolicy, policy))
  const program = Effect.gen(function*() {
    for (const [at, list] of lists.entries()) {
      while (world.kernel.nowMillis < start + at * runEveryMillis) yield* Effect.sleep("100 millis")
      yield* Effect.retry(Effect.tapError(one(list), told(world, process, list)), Schedule.spaced("500 millis"))
    }
    return yield* Effect.never
  })
  const app = Layer.merge(
    world.store.fetches(process),
    Layer.provide(HttpFetcher.layer, origin.client(process, clocksAreRight))
  )
  process.run(
    program.pipe(Effect.provide(app), Effect.retry(Schedule.spaced("500 millis")))
  )
}

const webOf = (world: World): Web => {
  const random = world.kernel.random.fork()
  const origin = new Origin(world.kernel, politeness)
  for (let host = 0; host < hostCount; host++) origin.add(`h${host}.test`, random.pick(temperaments))
  const seconds = (world.endMillis - world.kernel.nowMillis) / 1000
  return { origin, lists: listsOf(random, seconds) }
}

const check = ({ inspect }: Store, { lists, origin }: Web): ReadonlyArray<string> => {
  const wrong = [...origin.wrong]
  for (const { name, urls } of lists) {
    const { deferred, leased, outcomes, pending } = inspect.run(name)
    const wanted = new Set(urls)
    const seen = new Map<string, number>()
    for (const { url } of outcomes) seen.set(url, (seen.get(url) ?? 0) + 1)
    for (const url of wanted) if (!seen.has(url)) wrong.push(`${name}: ${url} has no outcome`)
    for (const [url, times] of seen) {
      if (!wanted.has(url)) wrong.push(`${name}: ${url} has an outcome, and nobody asked for it`)
      if (times > 1) wrong.push(`${name}: ${url} has ${times} outcomes`)
    }
    if (leased !== 0) wrong.push(`${name}: ${leased} are left leased`)
    if (pending !== deferred) wrong.push(`${name}: ${pending} are left pending, and ${deferred} of them were put off`)
  }
  return wrong
}

export const scene: Scene = {
  name: "fetch",
  slots: 3,
  // Six runs, one after another, and hosts that never answer hold up each for up to a minute: they are probed every six seconds.
  settleSeconds: 360,
  play: () => {
    let web: Web | undefined
    const webFor = (world: World) => web ??= webOf(world)
    return {
      boot: (world, process) => fetchAll(world, process, webFor(world)),
      begin: () => {},
      accepted: () => web?.origin.requests ?? 0,
      check: (store) => web === undefined ? ["nothing was begun"] : check(store, web)
    }
  }
}
