/**
 * The orders wing as it is: two workers and two processes that accept orders and move money, each asked again with its key until it has answered, and a
 * payment provider that sometimes charges and loses its answer.
 */
import { Effect, Layer, Logger, Schedule } from "effect"
import * as OrdersApp from "../../src/programs/orders/OrdersApp.ts"
import * as OrderWorker from "../../src/programs/orders/OrderWorker.ts"
import { customerId, seed, sku } from "../../src/programs/orders/seed.ts"
import { Ledger } from "../../src/services/orders/Ledger.ts"
import type { OrderRequest } from "../../src/services/orders/Order.ts"
import { Orders } from "../../src/services/orders/Orders.ts"
import { type ChargeAnswer, PaymentProvider, PaymentUnavailable } from "../../src/services/orders/PaymentProvider.ts"
import * as Client from "./Client.ts"
import type { PgliteServer } from "./PgliteServer.ts"
import type { Process } from "./Process.ts"
import type { Scene } from "./Scene.ts"
import type { World } from "./World.ts"

const customers = 5
const products = 6
const stock = 400
const workers = 2

/** The other bank's books: they outlive every process. */
type Charges = Map<string, { readonly answer: ChargeAnswer; readonly amount: bigint; times: number }>

const provider = ({ random }: Process, charges: Charges): Layer.Layer<PaymentProvider> => {
  const lost = (key: string) => Effect.fail(new PaymentUnavailable({ key, problem: "the answer is lost" }))
  const travel = Effect.suspend(() => Effect.sleep(random.float() * (random.chance(0.05) ? 15_000 : 200)))
  return Layer.succeed(
    PaymentProvider,
    PaymentProvider.of({
      find: (key) => Effect.andThen(travel, Effect.sync(() => charges.get(key)?.answer)),
      charge: ({ amount, key }) =>
        Effect.gen(function*() {
          yield* travel
          if (random.chance(0.1)) return yield* lost(key)
          const known = charges.get(key)
          const answer = known?.answer ?? (random.chance(0.1) ? "declined" : "charged")
          charges.set(key, { answer, amount, times: (known?.times ?? 0) + 1 })
          yield* travel
          return random.chance(0.1) ? yield* lost(key) : answer
        })
    })
  )
}

interface Books {
  /** Filling the shelves again after a lost answer would count what was sold meanwhile: nobody buys before they are full. */
  isOpen: boolean
  /** Answers by key: the same key must always get the same. */
  readonly orders: Map<string, string>
  readonly transfers: Map<string, string>
  readonly wrong: Array<string>
}

const appOf = (world: World, process: Process) =>
  OrdersApp.layer.pipe(
    Layer.provide(Client.layer(() => world.connect(process), process.name)),
    Layer.provideMerge(Logger.layer([]))
  )

const work = (world: World, process: Process, slot: number, charges: Charges): void => {
  const worker = OrderWorker.layer({ picking: slot === 0 ? "200 millis" : 0 }).pipe(
    Layer.provide(provider(process, charges)),
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
  tables: "",
  empty: "",
  play: () => {
    const charges: Charges = new Map()
    const books: Books = { isOpen: false, orders: new Map(), transfers: new Map(), wrong: [] }
    const tried = { count: 0 }
    return {
      boot: (world, process, slot) =>
        slot < workers ? work(world, process, slot, charges) : serve(world, process, tried, books),
      begin: (world) => open(world, books),
      accepted: () => books.orders.size + books.transfers.size,
      check: (server) => check(server, books, charges)
    }
  }
}

interface Sums {
  readonly currency: string
  readonly balances: string
  readonly entries: string
}

const check = async (server: PgliteServer, books: Books, charges: Charges): Promise<Array<string>> => {
  const wrong = [...books.wrong]
  const sums = await server.rows<Sums>(`select a.currency, sum(a.balance)::text as balances,
    (select coalesce(sum(e.amount), 0)::text from sluice.ledger_entries e) as entries from sluice.accounts a group by 1`)
  for (const { balances, currency, entries } of sums) {
    if (balances !== "0" || entries !== "0") {
      wrong.push(`${currency}: balances sum to ${balances}, entries to ${entries}`)
    }
  }
  const apart = await server.rows<{ readonly id: string }>(`select a.id from sluice.accounts a
    where a.balance <> (select coalesce(sum(e.amount), 0) from sluice.ledger_entries e where e.account = a.id)`)
  for (const { id } of apart) wrong.push(`the balance of ${id} is not the sum of its entries`)
  const strangers = await server.rows<{ readonly account: string }>(
    `select distinct e.account from sluice.ledger_entries e
    where not exists (select from sluice.accounts a where a.id = e.account)`
  )
  for (const { account } of strangers) wrong.push(`entries of ${account}, which is no account`)
  const shelves = await server.rows<{ readonly sku: string; readonly units: number; readonly reserved: number }>(
    "select sku, (on_hand + reserved + sold)::int as units, reserved::int from sluice.products"
  )
  for (const { reserved, sku, units } of shelves) {
    if (units !== stock || reserved !== 0) wrong.push(`${sku}: ${units} units in all, ${reserved} still reserved`)
  }
  const orders = await server.rows<
    {
      readonly id: string
      readonly key: string
      readonly status: string
      readonly payment: string
      readonly total: string
    }
  >(
    "select id::text, key, status, payment, total::text from sluice.orders"
  )
  const byKey = new Map(orders.map((order) => [order.key, order]))
  for (const [key, id] of books.orders) {
    if (byKey.get(key)?.id !== id) wrong.push(`order ${id} of ${key} was answered and is not there`)
  }
  for (const { id, payment, status, total } of orders) {
    if (status !== "completed" && status !== "failed" && status !== "cancelled") {
      wrong.push(`order ${id} is left ${status}`)
    }
    const charged = charges.get(id)?.answer === "charged"
    if (payment === "card" && charged && charges.get(id)?.amount !== BigInt(total)) {
      wrong.push(`order ${id} was charged another amount`)
    }
    if (payment === "card" && status === "completed" && !charged) {
      wrong.push(`order ${id} is completed and was never charged`)
    }
    if (payment !== "card" && charged) wrong.push(`order ${id} is no card's and was charged`)
  }
  const transfers = await server.rows<{ readonly key: string; readonly id: string }>(
    "select key, id::text from sluice.transfers"
  )
  const moved = new Map(transfers.map(({ id, key }) => [key, id]))
  for (const [key, id] of books.transfers) {
    if (moved.get(key) !== id) wrong.push(`transfer ${id} of ${key} was answered and is not there`)
  }
  const live = await server.rows<
    { readonly id: string; readonly kind: string; readonly state: string; readonly is_member: boolean }
  >(
    "select id::text, kind, state::text, exists (select from sluice.job_worker w where w.id = j.worker) as is_member from sluice.job j"
  )
  for (const { id, is_member, kind, state } of live) {
    wrong.push(
      `job ${id} (${kind}) is left in state ${state}${
        state === "running" && !is_member ? " at a worker that is not there" : ""
      }`
    )
  }
  return wrong
}
