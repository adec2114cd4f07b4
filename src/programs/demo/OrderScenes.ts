/**
 * The scenes about orders: a hundred of them that take half a second each, on five worker processes, one of which is killed with -9 in the middle; and the books,
 * which balance at the end all the same.
 */
import { Clock, Duration, Effect, FileSystem, Layer, Option, Ref, Schema, Stream } from "effect"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import { fileURLToPath } from "node:url"
import * as Database from "../../layers/postgres/Database.ts"
import { isSound, Ledger } from "../../services/orders/Ledger.ts"
import { format } from "../../services/orders/Money.ts"
import { Orders } from "../../services/orders/Orders.ts"
import * as OrdersApp from "../orders/OrdersApp.ts"
import * as OrderWorker from "../orders/OrderWorker.ts"
import { currency, customerId, merchant, seed, sku } from "../orders/seed.ts"
import { withLiveRegion } from "../terminal/LiveRegion.ts"
import { bar, green, red, seconds } from "../terminal/Style.ts"

const orderCount = 100
const picking = Duration.millis(500)
const workerCount = 5
/** The product that has to be shipped: see `seed`. */
const shipped = sku(4)

const isSource = import.meta.url.endsWith(".ts")
const program = fileURLToPath(new URL(`../bin/orderWorker${isSource ? ".ts" : ".js"}`, import.meta.url))

/** A data directory that the database's own user can enter, gone at the end. */
const temporaryDirectory = Effect.gen(function*() {
  const files = yield* FileSystem.FileSystem
  const directory = yield* files.makeTempDirectoryScoped({ prefix: "sluice-demo-" })
  yield* files.chmod(directory, 0o755)
  return directory
})

/** A worker process ended before it was ready. */
export class WorkerLeft extends Schema.TaggedError<WorkerLeft>()("WorkerLeft", { pid: Schema.Int }) {
  override get message(): string {
    return `the worker process ${this.pid} ended before it was ready`
  }
}

/** A worker process; ready when it says so. */
const startWorker = Effect.fnUntraced(function*(directory: string) {
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  const child = yield* spawner.spawn(ChildProcess.make(process.execPath, [program], {
    stdin: "ignore",
    stderr: "ignore",
    extendEnv: true,
    env: {
      SLUICE_DATA_DIR: directory,
      DATABASE_URL: "",
      SLUICE_PICKING: `${Duration.toMillis(picking)} millis`,
      SLUICE_WORKERS: "1"
    },
    forceKillAfter: "2 seconds"
  }))
  const first = yield* Stream.runHead(child.stdout)
  return Option.isSome(first) ? child : yield* new WorkerLeft({ pid: child.pid })
})

/** Places orders and says which. */
const place = Effect.fnUntraced(function*(run: string) {
  const orders = yield* Orders
  return yield* Effect.forEach(
    Array.from({ length: orderCount }, (_, index) => index),
    (index) =>
      orders.accept(`${run}-${index}`, {
        customerId: customerId(1 + index % 10),
        items: [{ sku: shipped, quantity: 1 }]
      }),
    { concurrency: 20 }
  )
})

const completed = Effect.gen(function*() {
  const orders = yield* Orders
  return (yield* orders.count).find(({ status }) => status === "completed")?.orders ?? 0
})

/** Watches until so many are complete, under a bar, and answers how long that took. */
const watch = Effect.fnUntraced(function*(before: number, note: Ref.Ref<string>) {
  const startedAt = yield* Clock.currentTimeMillis
  const done = yield* Ref.make(0)
  const render = Effect.gen(function*() {
    const count = yield* Ref.get(done)
    const now = yield* Clock.currentTimeMillis
    return [
      `  ${bar(count / orderCount, 40)} ${count}/${orderCount} shipped  ${seconds(now - startedAt)}  ${yield* Ref.get(
        note
      )}`
    ]
  })
  const poll = Effect.gen(function*() {
    while ((yield* Ref.get(done)) < orderCount) {
      yield* Effect.sleep("50 millis")
      yield* Ref.set(done, (yield* completed) - before)
    }
  })
  yield* withLiveRegion(poll, render)
  return (yield* Clock.currentTimeMillis) - startedAt
})

const onProcesses = Effect.fnUntraced(function*(directory: string) {
  const note = yield* Ref.make(`${workerCount} worker processes`)
  const workers = yield* Effect.forEach(Array.from({ length: workerCount }), () => startWorker(directory), {
    concurrency: "unbounded"
  })
  yield* place("processes")
  const victim = workers[0]
  yield* Effect.forkScoped(Effect.gen(function*() {
    yield* Effect.sleep("4 seconds")
    if (victim !== undefined) yield* Effect.ignore(victim.kill({ killSignal: "SIGKILL" }))
    yield* Ref.set(note, red(`worker ${victim?.pid ?? "?"} killed with -9: ${workerCount - 1} left`))
  }))
  return yield* watch(0, note)
})

const inProcess = Effect.fnUntraced(function*(concurrency: number) {
  const note = yield* Ref.make(`${concurrency} at the same time`)
  yield* place("fibers")
  const before = yield* completed
  return yield* Effect.provide(watch(before, note), OrderWorker.layer({ picking, concurrency, poll: "100 millis" }))
})

const play = Effect.fnUntraced(function*(directory: string) {
  yield* seed({ customers: 10, products: 4, funds: 1_000_000n, stock: 1000 })
  const five = yield* Effect.scoped(onProcesses(directory))
  const fifty = yield* inProcess(50)
  const ledger = yield* Ledger
  const books = yield* ledger.audit
  const earned = yield* ledger.find(merchant)
  const sound = isSound(books) ? green("balanced") : red("NOT BALANCED")
  return [
    `  one after the other this is ${
      seconds(orderCount * Duration.toMillis(picking))
    }; on five workers, one killed on the way, it took ${seconds(five)}; fifty at a time ${seconds(fifty)}`,
    `  the ledger is ${sound}: every order paid once and shipped once, the merchant has ${
      format({ amount: earned.balance, currency })
    }, all entries sum to ${books.reduce((sum, line) => sum + line.entriesSum, 0n)}`
  ]
})

/** A hundred half-second orders on five workers, one of which is killed. It brings its own database and leaves nothing behind. */
export const orders = Effect.scoped(Effect.gen(function*() {
  const directory = yield* temporaryDirectory
  return yield* Effect.provide(play(directory), Layer.provideMerge(OrdersApp.layer, Database.layer({ directory })))
}))
