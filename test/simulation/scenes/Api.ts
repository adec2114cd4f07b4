/**
 * The API: two servers, a worker, and clients that ask with their keys until they are answered. What they were told must be so, for
 * everybody and for ever; what they saw of the ledger must have an order.
 */
import { Effect, Layer, Schedule } from "effect"
import { cash, currency, customerId, seed, sku } from "../../../src/programs/orders/Seed.ts"
import * as OrderWorker from "../../../src/programs/work/OrderWorker.ts"
import { Ledger } from "../../../src/services/orders/Ledger.ts"
import * as BookCheck from "../checkers/Books.ts"
import * as LedgerHistory from "../checkers/LedgerHistory.ts"
import { Calls } from "../kernel/Calls.ts"
import type { Process } from "../kernel/Process.ts"
import { stock, type Store } from "../levels/Level.ts"
import type { Scene } from "../Scene.ts"
import type { World } from "../World.ts"
import { type Answer, ApiServer, type Request } from "./ApiServer.ts"
import * as Provider from "./Provider.ts"

const servers = 2
const clients = 3
const customers = 4
const products = 5
/** Accounts that only transfers of the clients move: each movement is a version. */
const purses: ReadonlySet<string> = new Set(["purse-1", "purse-2", "purse-3", "purse-4"])

/** So long after the last fault nobody is told of trouble any more. */
const recoveredMillis = 30_000

/** What the clients know. */
class Notes {
  isOpen = false
  answered = 0
  readonly servers = new Map<number, { readonly process: Process; readonly server: ApiServer }>()
  readonly charges: Provider.Charges = new Map()
  readonly orders = new Map<string, string>()
  readonly transfers = new Map<string, string>()
  readonly looks: Array<LedgerHistory.Look> = []
  readonly asked = new Map<string, LedgerHistory.Asked>()
  /** Requests that were answered, by key: to be asked again, and asked for otherwise. */
  readonly told: Array<Request & { readonly key: string; readonly answer: Answer }> = []
}

const appOf = (world: World, process: Process) => world.store.shop(process)

const work = (world: World, process: Process, charges: Provider.Charges): void => {
  const worker = OrderWorker.layer().pipe(
    Layer.provide(Provider.layer(process, charges)),
    Layer.provide(appOf(world, process))
  )
  process.run(Effect.retry(Layer.launch(worker), Schedule.spaced("500 millis")))
}

const open = (world: World, notes: Notes): void => {
  const process = world.bystander("shopkeeper")
  const setUp = Effect.gen(function*() {
    yield* seed({ customers, products, funds: 5_000n, stock })
    const ledger = yield* Ledger
    yield* ledger.open([...purses].map((id) => ({ id, currency, allowNegative: false })))
    for (const to of purses) yield* ledger.transfer(`fill-${to}`, { from: cash, to, amount: 300n, currency })
    notes.isOpen = true
  })
  process.run(setUp.pipe(Effect.retry(Schedule.spaced("200 millis")), Effect.provide(appOf(world, process))))
}

/** What a client may be told while things go wrong, and has to ask again for. */
const isTrouble = ({ json, status }: Answer): boolean =>
  status === 503 || status === 504 || (status === 409 && json["type"] === "/problems/idempotency-key-in-flight")

class Client {
  private readonly world: World
  private readonly notes: Notes
  private readonly process: Process
  private readonly name: string
  private readonly lines = new Map<Process, Calls>()
  private asked = 0

  constructor(world: World, notes: Notes, name: string) {
    this.world = world
    this.notes = notes
    this.name = name
    this.process = world.bystander(name)
  }

  begin(): void {
    this.process.run(this.life)
  }

  private get life(): Effect.Effect<void> {
    const { notes, process: { random }, world } = this
    const moves = [
      () => this.order(),
      () => this.transfer(),
      () => this.transfer(),
      () => this.look(),
      () => this.look(),
      () => this.repeat(),
      () => this.reuse()
    ] as const
    return Effect.gen({ self: this }, function*() {
      while (!notes.isOpen) yield* Effect.sleep("50 millis")
      while (world.kernel.nowMillis < world.endMillis) {
        yield* Effect.forkChild(Effect.ignore(random.pick(moves)()))
        yield* Effect.sleep(random.float() * 1500)
      }
      return yield* Effect.never
    })
  }

  private order(): Effect.Effect<void, string> {
    const { notes, process: { random } } = this
    const body = {
      customerId: customerId(1 + random.below(customers)),
      payment: random.chance(0.25) ? "card" : "account",
      items: [{ sku: sku(1 + random.below(products)), quantity: 1 + random.below(2) }]
    }
    return Effect.gen({ self: this }, function*() {
      const key = this.key()
      const { id } = yield* this.told({ method: "POST", path: "/v1/orders", key, body }, [200, 202], notes.orders)
      const found = yield* this.ask({ method: "GET", path: `/v1/orders/${id}` })
      if (found.status !== 200) this.wrong(`order ${id} was answered, and is then answered ${found.status}`)
      if (random.chance(0.2)) yield* this.ask({ method: "POST", path: `/v1/orders/${id}/cancel` })
    })
  }

  private transfer(): Effect.Effect<void, string> {
    const { notes, process: { random } } = this
    const [from = "", to = ""] = [...purses].sort(() => random.float() - 0.5)
    const body = { from, to, amount: String(1 + random.below(120)), currency, reference: "simulated" }
    return Effect.suspend(() => {
      const key = this.key()
      notes.asked.set(key, { beganAt: this.world.kernel.nowMillis, endedAt: undefined })
      // 422: there is not enough on the account.
      return Effect.asVoid(this.told({ method: "POST", path: "/v1/transfers", key, body }, [201, 422], notes.transfers))
    })
  }

  private look(): Effect.Effect<void, string> {
    const { notes, process: { random }, world: { kernel } } = this
    const account = [...purses][random.below(purses.size)] ?? ""
    return Effect.gen({ self: this }, function*() {
      const beganAt = kernel.nowMillis
      const { json, status } = yield* this.ask({ method: "GET", path: `/v1/accounts/${account}` })
      if (status !== 200) {
        this.wrong(`${account} is there, and is answered ${status}`)
        return
      }
      const { balance, version } = json
      notes.looks.push({
        account,
        version: Number(version),
        balance: BigInt(String(balance)),
        beganAt,
        endedAt: kernel.nowMillis
      })
    })
  }

  /** The same again: the same answer. */
  private repeat(): Effect.Effect<void, string> {
    return Effect.gen({ self: this }, function*() {
      const before = this.someAnswer()
      // A refusal leaves its key free: asked again, it may well be done.
      if (before === undefined || before.answer.status === 422) return
      const { headers, json, status } = yield* this.ask(before)
      const was = before.answer
      if (headers["idempotent-replayed"] !== "true") this.wrong(`${before.key} is answered again, and not as a replay`)
      const [first, again] = [String(was.json["id"]), String(json["id"])]
      if (status !== was.status || again !== first) {
        this.wrong(`${before.key} was answered ${was.status} ${first}, and again ${status} ${again}`)
      }
    })
  }

  /** Something else with a key that was answered: 422. */
  private reuse(): Effect.Effect<void, string> {
    return Effect.gen({ self: this }, function*() {
      const before = this.someAnswer()
      if (before === undefined || before.answer.status === 422 || typeof before.body !== "object") return
      const body = before.path === "/v1/orders"
        ? { ...before.body, note: "something else" }
        : { ...before.body, reference: "something else" }
      const { json, status } = yield* this.ask({ ...before, body })
      if (status !== 422 || json["type"] !== "/problems/idempotency-key-reused") {
        this.wrong(`${before.key} was used again for something else, and answered ${status} ${JSON.stringify(json)}`)
      }
    })
  }

  private someAnswer() {
    const { process: { random }, notes: { told } } = this
    return told[random.below(Math.max(1, told.length))]
  }

  /** Asks until there is an answer, and notes it. */
  private told(
    request: Request & { readonly key: string },
    expected: ReadonlyArray<number>,
    ids: Map<string, string>
  ): Effect.Effect<{ readonly id: string }, string> {
    return Effect.gen({ self: this }, function*() {
      const { notes, world: { kernel } } = this
      const answer = yield* this.ask(request)
      const { json, status } = answer
      if (!expected.includes(status)) this.wrong(`${request.key} is answered ${status}: ${JSON.stringify(json)}`)
      notes.answered++
      notes.told.push({ ...request, answer })
      const asked = notes.asked.get(request.key)
      // A refusal leaves its key free: an earlier try that was under way with another server may still be done after it.
      if (asked !== undefined && status < 400) notes.asked.set(request.key, { ...asked, endedAt: kernel.nowMillis })
      if (status >= 400) return yield* Effect.fail("refused")
      const id = String(json["id"])
      ids.set(request.key, id)
      return { id }
    })
  }

  /** One request until it is answered: with whichever server, again and again. */
  private ask(request: Request): Effect.Effect<Answer, string> {
    const { notes, process: { random }, world } = this
    const once = Effect.suspend(() => {
      const at = notes.servers.get(random.below(servers))
      if (at === undefined) return Effect.fail("there is no server")
      return Effect.timeoutOrElse(
        this.lineTo(at.process).call(`${request.method} ${request.path}`, at.server.answer(request), (why) => why),
        { duration: "20 seconds", orElse: () => Effect.fail("no answer") }
      )
    })
    return Effect.flatMap(once, (answer) => {
      if (answer === undefined) return Effect.fail("the server is not up")
      if (answer.status >= 500 && !isTrouble(answer)) {
        this.wrong(`${request.method} ${request.path} is answered ${answer.status}: ${JSON.stringify(answer.json)}`)
      }
      if (isTrouble(answer) && world.kernel.nowMillis > world.endMillis + recoveredMillis) {
        this.wrong(`${request.method} ${request.path} is answered ${answer.status}, and nothing is wrong`)
      }
      return isTrouble(answer) ? Effect.fail(`answered ${answer.status}`) : Effect.succeed(answer)
    }).pipe(Effect.retry({ schedule: Schedule.spaced("700 millis"), times: 100 }))
  }

  private lineTo(server: Process): Calls {
    const line = this.lines.get(server) ?? new Calls(this.world.network, this.process, server)
    this.lines.set(server, line)
    return line
  }

  private key(): string {
    return `${this.name}-${this.asked++}`
  }

  private wrong(what: string): void {
    this.world.wrong.add(what)
  }
}

const check = ({ inspect }: Store, notes: Notes): ReadonlyArray<string> => [
  ...BookCheck.check(inspect, notes, notes.charges),
  ...LedgerHistory.check(inspect.books(), purses, notes.looks, notes.asked)
]

export const scene: Scene = {
  name: "api",
  slots: servers + 1,
  settleSeconds: 90,
  play: () => {
    const notes = new Notes()
    return {
      boot: (world, process, slot) => {
        if (slot >= servers) work(world, process, notes.charges)
        else notes.servers.set(slot, { process, server: new ApiServer(world.store, process) })
      },
      begin: (world) => {
        open(world, notes)
        for (let at = 0; at < clients; at++) new Client(world, notes, `client${at}`).begin()
      },
      accepted: () => notes.answered,
      check: (store) => check(store, notes)
    }
  }
}
