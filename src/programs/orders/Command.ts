/** `sluice orders`: a shop to try things with, load for it, and whether its books balance. */
import { Config, Console, Effect, Option, Redacted, Runtime, Schema } from "effect"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { isSound, Ledger } from "../../services/orders/Ledger.ts"
import { format, maxAmount } from "../../services/orders/Money.ts"
import { Orders } from "../../services/orders/Orders.ts"
import { maxStock } from "../../services/orders/Product.ts"
import { ExitCode } from "../../services/tasks/ExitCode.ts"
import * as Table from "../terminal/Table.ts"
import * as Load from "./Load.ts"
import * as Seed from "./Seed.ts"

const positive = (name: string, description: string, fallback: number, maximum = Number.MAX_SAFE_INTEGER) =>
  Flag.Int(name).pipe(
    Flag.withDescription(description),
    Flag.withSchema(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum }))),
    Flag.withDefault(fallback)
  )

const customers = positive("customers", "how many customers there are", 1000)
const products = positive("products", "how many products there are", 100)

/** `sluice orders seed`. Needs the orders wing. */
export const seed = Command.make("seed", {
  customers,
  products,
  funds: positive("funds", "what each customer gets, in cents", 1_000_000, Number(maxAmount)),
  stock: positive("stock", "how many of each product there are", 1_000_000, maxStock)
}, ({ customers, funds, products, stock }) =>
  Effect.gen(function*() {
    yield* Seed.seed({ customers, products, funds: BigInt(funds), stock })
    yield* Console.log(
      `${customers} customers with ${
        format({ amount: BigInt(funds), currency: Seed.currency })
      } each, ${products} products, ${stock} of each`
    )
  })).pipe(
    Command.withDescription("Open customers' accounts, fill them, and put products on the shelf")
  )

/** `sluice orders load`. Needs no database: an `HttpClient` only. */
export const load = Command.make("load", {
  url: Flag.String("url").pipe(
    Flag.withDescription("the server"),
    Flag.withSchema(
      Schema.String.check(
        Schema.isPattern(/^https?:\/\/[^/\s]+\/?$/, { expected: "an address such as http://127.0.0.1:3000" })
      )
    ),
    Flag.map((url) => url.replace(/\/$/, "")),
    Flag.withDefault("http://127.0.0.1:3000")
  ),
  orders: positive("orders", "how many orders to place", 10_000),
  clients: positive("clients", "how many are placed at the same time", 64),
  customers,
  products
}, ({ clients, customers, orders, products, url }) =>
  Effect.gen(function*() {
    const token = yield* Config.option(Config.Redacted("SLUICE_API_TOKEN"))
    const report = yield* Load.load({
      url,
      orders,
      clients,
      customers,
      products,
      token: Option.getOrUndefined(Option.map(token, (value) => Redacted.value(value)))
    })
    yield* Console.log(
      `${report.orders} orders placed in ${report.seconds.toFixed(2)} s: ${Math.round(report.perSecond)}/s, ` +
        `p50 ${report.p50Millis.toFixed(1)} ms, p99 ${report.p99Millis.toFixed(1)} ms, max ${
          report.maxMillis.toFixed(1)
        } ms; ` +
        `all settled after ${report.settledSeconds.toFixed(2)} s`
    )
  })).pipe(
    Command.withDescription("Place orders over HTTP as fast as so many clients can, and say how fast that was")
  )

/** The books do not balance. */
export class BooksUnsound extends Schema.TaggedError<BooksUnsound>()("BooksUnsound", {}) {
  override get message(): string {
    return "the books do not balance: see the lines above"
  }
  override get [Runtime.errorExitCode](): number {
    return ExitCode.someFailed
  }
}

/** `sluice orders audit`. Needs the orders wing. */
export const audit = Command.make("audit", {}, () =>
  Effect.gen(function*() {
    const ledger = yield* Ledger
    const orders = yield* Orders
    const lines = yield* ledger.audit
    for (const line of lines) {
      yield* Console.log(
        `${line.currency}: ${line.accounts} accounts, entries sum to ${line.entriesSum}, balances to ${line.balancesSum}, ` +
          `${line.unbalancedAccounts} unbalanced, ${line.unheldAccounts} wrongly held, ${line.overdrawnAccounts} overdrawn`
      )
      if (line.unknownAccounts.length > 0) {
        yield* Console.log(`money on accounts that are not there: ${line.unknownAccounts.join(", ")}`)
      }
    }
    const counts = yield* orders.count
    const rows = counts.map(({ orders: count, status }) => [status, String(count)])
    yield* Console.log(Table.lines([Table.left("status"), Table.right("orders")], rows).join("\n"))
    return yield* isSound(lines) ? Effect.void : Effect.fail(new BooksUnsound())
  })).pipe(
    Command.withDescription("Recompute every balance from the ledger's entries")
  )

/** `sluice orders`; its subcommands need different things, and are joined to it where they are provided. */
export const orders = Command.make("orders").pipe(
  Command.withDescription("Try the order pipeline: seed a shop, load it, audit its books")
)
