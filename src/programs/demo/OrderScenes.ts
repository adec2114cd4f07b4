/**
 * The scenes about orders: a hundred of them that take half a second each, on five worker processes, one of which is killed with -9 in
 * the middle; and the books,
 * which balance at the end all the same.
 */
import { Cause, Clock, Deferred, Duration, Effect, FileSystem, Layer, Option, Schema, Stream } from "effect"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import { fileURLToPath } from "node:url"
import * as Database from "../../layers/postgres/Database.ts"
import * as EmbeddedPostgres from "../../layers/postgres/EmbeddedPostgres.ts"
import { isSound, Ledger } from "../../services/orders/Ledger.ts"
import { format } from "../../services/orders/Money.ts"
import { Orders } from "../../services/orders/Orders.ts"
import * as OrdersApp from "../orders/App.ts"
import { currency, customerId, merchant, seed, sku } from "../orders/Seed.ts"
import { withLiveRegion } from "../terminal/LiveRegion.ts"
import { bar, green, red, seconds } from "../terminal/Style.ts"
import * as OrderWorker from "../work/OrderWorker.ts"

const orderCount = 100
const picking = Duration.millis(500)
const workerCount = 5
const killAfter = "7 seconds"
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
      DATABASE_URL: undefined,
      SLUICE_PICKING: `${Duration.toMillis(picking)}ms`,
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

/** A hundred orders on their way: counted from when they were placed, whether or not anybody looks. */
interface Watched {
  done: number
  note: string
  readonly startedAt: number
  readonly ended: Deferred.Deferred<number>
}

const watched = Effect.fnUntraced(function*(before: number, note: string) {
  const startedAt = yield* Clock.currentTimeMillis
  const batch: Watched = { done: 0, note, startedAt, ended: yield* Deferred.make<number>() }
  yield* Effect.forkScoped(
    Effect.gen(function*() {
      while (batch.done < orderCount) {
        yield* Effect.sleep("50 millis")
        batch.done = (yield* completed) - before
      }
      yield* Deferred.succeed(batch.ended, (yield* Clock.currentTimeMillis) - startedAt)
    }).pipe(Effect.onError((cause) => Deferred.failCause(batch.ended, Cause.die(Cause.squash(cause)))))
  )
  return batch
})

/** Shows a batch under a bar until all of it is shipped, and answers how long that took. */
const show = (batch: Watched) =>
  withLiveRegion(
    Deferred.await(batch.ended),
    Effect.map(Clock.currentTimeMillis, (now) => [
      `  ${bar(batch.done / orderCount, 40)} ${batch.done}/${orderCount} shipped  ${
        seconds(now - batch.startedAt)
      }  ${batch.note}`
    ])
  )

/** The orders of the five worker processes, one of which is killed when most of its work is still to be done. */
const onProcesses = Effect.fnUntraced(function*(workers: ReadonlyArray<ChildProcessSpawner.ChildProcessHandle>) {
  yield* place("processes")
  const batch = yield* watched(0, `${workers.length} worker processes`)
  const [victim] = workers
  yield* Effect.forkScoped(Effect.gen(function*() {
    yield* Effect.sleep(killAfter)
    if (victim === undefined) return
    yield* Effect.ignore(victim.kill({ killSignal: "SIGKILL" }))
    batch.note = red(`worker ${victim.pid} killed with -9: ${workers.length - 1} left`)
  }))
  return batch
})

const inProcess = Effect.scoped(Effect.gen(function*() {
  const concurrency = 50
  yield* place("fibers")
  const batch = yield* watched(yield* completed, `${concurrency} at the same time`)
  yield* Layer.build(OrderWorker.layer({ picking, concurrency, poll: "100 millis" }))
  return yield* show(batch)
}))

const audit = Effect.fnUntraced(function*(five: number, fifty: number) {
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

/**
 * Opens the shop: a database of its own and five worker processes, all gone when the scope closes. It answers what places the hundred
 * half-second orders, and that in turn what shows them to their end: the scenes in between need not wait for them.
 */
export const open = Effect.gen(function*() {
  const directory = yield* temporaryDirectory
  const services = yield* Layer.build(Layer.provideMerge(OrdersApp.layer, Database.layer({ directory }))).pipe(
    // The demo speaks of its own scenes only.
    Effect.provideService(EmbeddedPostgres.Progress, () => Effect.void)
  )
  yield* Effect.provide(seed({ customers: 10, products: 4, funds: 1_000_000n, stock: 1000 }), services)
  const workers = yield* Effect.forEach(Array.from({ length: workerCount }), () => startWorker(directory), {
    concurrency: "unbounded"
  })
  return Effect.map(
    Effect.provide(onProcesses(workers), services),
    (batch) =>
      Effect.gen(function*() {
        const five = yield* show(batch)
        return yield* audit(five, yield* inProcess)
      }).pipe(Effect.provide(services))
  )
})
