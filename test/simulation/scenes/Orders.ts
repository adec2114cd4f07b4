/**
 * The orders wing as it is: two workers and two processes that accept orders and move money, each asked again with its key until it has
 * answered, and a payment provider that sometimes charges and loses its answer.
 */
import { Effect, Layer, Schedule } from "effect"
import { customerId, seed, sku } from "../../../src/programs/orders/Seed.ts"
import * as OrderWorker from "../../../src/programs/work/OrderWorker.ts"
import { Ledger } from "../../../src/services/orders/Ledger.ts"
import type { OrderRequest } from "../../../src/services/orders/Order.ts"
import { Orders } from "../../../src/services/orders/Orders.ts"
import * as BookCheck from "../checkers/Books.ts"
import type { Process } from "../kernel/Process.ts"
import { stock } from "../levels/Level.ts"
import type { Scene } from "../Scene.ts"
import type { World } from "../World.ts"
import * as Provider from "./Provider.ts"

const customers = 5
const products = 6
const workers = 2

interface Books {
  /** Filling the shelves again after a lost answer would count what was sold meanwhile: nobody buys before they are full. */
  isOpen: boolean
  /** Answers by key: the same key must always get the same. */
  readonly orders: Map<string, string>
  readonly transfers: Map<string, string>
  readonly wrong: Array<string>
}

const appOf = (world: World, process: Process) => world.store.shop(process)

const work = (world: World, process: Process, slot: number, charges: Provider.Charges): void => {
  const worker = OrderWorker.layer({ picking: slot === 0 ? "200 millis" : 0 }).pipe(
    Layer.provide(Provider.layer(process, charges)),
    Layer.provide(appOf(world, process))
  )
  process.run(Effect.retry(Layer.launch(worker), Schedule.spaced("500 millis")))
}

/** A client asks with its key until it is answered. */
const patience = { schedule: Schedule.spaced("700 millis"), times: 40 }

const note = (answers: Map<string, string>, wrong: Array<string>, key: string, answer: string): void => {
  const known = answers.get(key)
  if (known !== undefined && known !== answer) wrong.push(`key ${key} was answered ${known} and then ${answer}`)
  answers.set(key, answer)
}

const serve = (world: World, process: Process, tried: { count: number }, books: Books): void => {
  const { random } = process
  const someone = () => customerId(1 + random.below(customers))
  const order = (key: string) => {
    const request: OrderRequest = {
      customerId: someone(),
      payment: random.chance(0.25) ? "card" : "account",
      items: [{ sku: sku(1 + random.below(products)), quantity: 1 + random.below(2) }]
    }
    return Effect.flatMap(Orders, (orders) => orders.accept(key, request)).pipe(
      Effect.timeout("5 seconds"),
      Effect.map(({ value }) => note(books.orders, books.wrong, key, value.id)),
      Effect.retry(patience),
      Effect.tap(random.chance(0.2) ? cancel(key) : Effect.void)
    )
  }
  const cancel = (key: string) =>
    Effect.flatMap(Orders, (orders) => orders.cancel(books.orders.get(key) ?? "")).pipe(Effect.ignore)
  const transfer = (key: string) =>
    Effect.flatMap(Ledger, (ledger) =>
      ledger.transfer(key, {
        from: "cash",
        to: someone(),
        amount: BigInt(1 + random.below(50)),
        currency: "EUR",
        reference: "simulated"
      })).pipe(
        Effect.timeout("5 seconds"),
        Effect.map(({ value }) => note(books.transfers, books.wrong, key, value.id)),
        Effect.retry(patience)
      )
  const program = Effect.gen(function*() {
    while (!books.isOpen) yield* Effect.sleep("50 millis")
    while (world.kernel.nowMillis < world.endMillis) {
      const key = `key-${tried.count++}`
      yield* Effect.forkChild(Effect.ignore(random.chance(0.8) ? order(key) : transfer(key)))
      yield* Effect.sleep(random.float() * 1500)
    }
    return yield* Effect.never
  })
  process.run(program.pipe(Effect.provide(appOf(world, process)), Effect.retry(Schedule.spaced("500 millis"))))
}

/** Opens the shop before anything goes wrong. */
const open = (world: World, books: Books): void => {
  const process = world.bystander("shopkeeper")
  process.run(
    seed({ customers, products, funds: 5_000n, stock }).pipe(
      Effect.retry(Schedule.spaced("200 millis")),
      Effect.map(() => {
        books.isOpen = true
      }),
      Effect.provide(appOf(world, process))
    )
  )
}

export const scene: Scene = {
  name: "orders",
  slots: 4,
  settleSeconds: 60,
  play: () => {
    const charges: Provider.Charges = new Map()
    const books: Books = { isOpen: false, orders: new Map(), transfers: new Map(), wrong: [] }
    const tried = { count: 0 }
    return {
      boot: (world, process, slot) =>
        slot < workers ? work(world, process, slot, charges) : serve(world, process, tried, books),
      begin: (world) => open(world, books),
      accepted: () => books.orders.size + books.transfers.size,
      check: ({ inspect }) => [...books.wrong, ...BookCheck.check(inspect, books, charges)]
    }
  }
}
