/**
 * One contender doing one thing in a process of its own: `contender.ts NAME MODE URL COUNT`. It prints one line of JSON.
 *
 * Modes: `setup`; `bulk` and `one` enqueue and print jobs per second; `drain` works through what waits (after `{"ready"}` it begins
 * when a line comes on stdin) and prints the seconds; `listen` prints the delay of each ping until stdin ends; `ping` sends them.
 */
import { Effect, Layer, ManagedRuntime, Redacted, Schema } from "effect"
import * as PersistedQueue from "effect/persistence/PersistedQueue"
import { setTimeout as sleep } from "node:timers/promises"
import * as Worker from "../../src/layers/jobs/worker/Worker.ts"
import * as Database from "../../src/layers/postgres/Database.ts"
import * as JobHandler from "../../src/services/jobs/JobHandler.ts"
import { JobQueue } from "../../src/services/jobs/JobQueue.ts"
import * as Ours from "./ours.ts"
import { type Contender, peers } from "./peers.mjs"

const Bench = Schema.Struct({ n: Schema.Finite })

const sluice = (url: string): Contender => {
  const runtime = ManagedRuntime.make(Ours.layer(url))
  const Kind = Ours.Noop
  return {
    setup: () => runtime.runPromise(Effect.void),
    bulk: (payloads) => runtime.runPromise(Effect.flatMap(JobQueue, (queue) => queue.enqueueMany(Kind, payloads))),
    one: (payload) => runtime.runPromise(Effect.flatMap(JobQueue, (queue) => queue.enqueue(Kind, payload))),
    start: (task) => {
      const worker = Worker.layer([JobHandler.plain(Kind, (payload) => Effect.sync(() => void task(payload)))])
      runtime.runFork(Layer.launch(worker))
      return Promise.resolve()
    },
    stop: () => runtime.dispose()
  }
}

const persisted = (url: string): Contender => {
  const runtime = ManagedRuntime.make(PersistedQueue.layer.pipe(
    Layer.provide(PersistedQueue.layerStoreSql()),
    Layer.provide(Database.layer({ url: Redacted.make(url), schema: "ignore", poolMin: 2, poolMax: 12 }))
  ))
  const queue = PersistedQueue.make({ name: "bench", schema: Bench })
  return {
    setup: () => runtime.runPromise(queue),
    bulk: (payloads) =>
      runtime.runPromise(
        Effect.flatMap(queue, (queue) =>
          Effect.forEach(payloads, (payload) => queue.offer(payload), { concurrency: 32, discard: true }))
      ),
    one: (payload) => runtime.runPromise(Effect.flatMap(queue, (queue) => queue.offer(payload))),
    start: (task, concurrency = 24) => {
      runtime.runFork(Effect.flatMap(queue, (queue) =>
        Effect.forEach(
          Array.from({ length: concurrency }),
          () => Effect.forever(queue.take((payload) => Effect.sync(() => void task(payload)))),
          { concurrency: "unbounded", discard: true }
        )))
      return Promise.resolve()
    },
    stop: () => runtime.dispose()
  }
}

const contenders: Readonly<Record<string, (url: string) => Contender | Promise<Contender>>> = {
  sluice,
  "Effect PersistedQueue": persisted,
  ...peers
}

const say = (line: unknown) => console.log(JSON.stringify(line))
const now = () => performance.timeOrigin + performance.now()
const stdinLine = () => new Promise<void>((resolve) => void process.stdin.once("data", () => resolve()))

const [name = "", mode = "", url = "", size = "0"] = process.argv.slice(2)
const count = Number(size)
const make = contenders[name]
if (make === undefined) throw new Error(`no contender ${name}`)
const contender = await make(url)
const payloads = (length: number) => Array.from({ length }, (_, n) => ({ n }))
await (mode === "setup" ? contender.setup() : contender.open?.())

if (mode === "bulk") {
  const chunks = Array.from({ length: count / 1000 }, () => payloads(1000))
  const from = now()
  for (const chunk of chunks) await contender.bulk(chunk)
  say({ perSecond: count / ((now() - from) / 1000) })
}
if (mode === "one") {
  let next = 0
  const from = now()
  await Promise.all(Array.from({ length: 16 }, async () => {
    while (next < count) await contender.one({ n: next++ })
  }))
  say({ perSecond: count / ((now() - from) / 1000) })
}
if (mode === "drain") {
  say({ ready: true })
  await stdinLine()
  const tally = { done: 0 }
  await contender.start(() => {
    tally.done++
  })
  // Two processes share `count`: whoever asks adds them up, and ends us.
  for (let said = -1;;) {
    await sleep(5)
    if (tally.done === said) continue
    said = tally.done
    say({ done: said, at: now() })
  }
}
if (mode === "listen") {
  await (contender.listen ?? contender.start)(({ n }) => say({ delay: now() - n }))
  say({ ready: true })
  await stdinLine()
}
if (mode === "ping") {
  await contender.one({ n: now() })
  await sleep(1000)
  for (let i = 0; i < count; i++) {
    await sleep(10)
    await contender.one({ n: now() })
  }
}
if (mode !== "setup" || name !== "sluice") await Promise.race([contender.stop(), sleep(2000)])
process.exit(0)
