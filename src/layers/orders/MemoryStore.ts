/** What the memory layers of ledger, catalog and orders share. Lost with the process; for tests and for trying things out. */
import type { Result } from "effect"
import { Clock, Context, Effect, Layer } from "effect"
import type { Account, NewAccount } from "../../services/orders/Account.ts"
import type { Order } from "../../services/orders/Order.ts"
import type { Product, StockAdjustment } from "../../services/orders/Product.ts"
import type { AccountDelta, Books, Plan } from "../../services/orders/Settlement.ts"
import type { EntryKind, LedgerEntry, Transfer } from "../../services/orders/Transfer.ts"

/** The state of a little shop. */
export class MemoryStore extends Context.Service<MemoryStore, {
  readonly accounts: Map<string, Account>
  readonly products: Map<string, Product>
  readonly transfers: Map<string, Transfer>
  /** Transfer ids by idempotency key. */
  readonly transferKeys: Map<string, string>
  readonly orders: Map<string, Order>
  /** Order ids by idempotency key. */
  readonly orderKeys: Map<string, string>
  readonly entries: Array<LedgerEntry>
  /** Stock adjustments by idempotency key. */
  readonly adjustments: Map<string, StockAdjustment>
}>()("sluice/layers/orders/MemoryStore") {}

/** An empty store. */
export const layer: Layer.Layer<MemoryStore> = Layer.sync(MemoryStore, () => ({
  accounts: new Map(),
  products: new Map(),
  transfers: new Map(),
  transferKeys: new Map(),
  orders: new Map(),
  orderKeys: new Map(),
  entries: [],
  adjustments: new Map()
}))

type State = MemoryStore["Service"]

/** The time of the fiber's clock. */
export const now: Effect.Effect<Date> = Effect.map(Clock.currentTimeMillis, (millis) => new Date(millis))

/** The store as the settlement rules read it. */
export const booksOf = (state: State): Books => ({
  account: (id) => state.accounts.get(id),
  product: (sku) => state.products.get(sku)
})

/** Opens an account that is not open yet. */
export const open = (state: State, account: NewAccount, at: Date): void => {
  if (state.accounts.has(account.id)) return
  state.accounts.set(account.id, { ...account, balance: 0n, held: 0n, version: 1, createdAt: at })
}

/** Adds to an account. That it is there is for the rules to see to: money that is on no account would be made from nothing. */
export const move = (state: State, id: string, delta: AccountDelta): void => {
  const account = state.accounts.get(id)
  if (account === undefined) throw new Error(`there is no account ${JSON.stringify(id)} to move money on`)
  state.accounts.set(id, {
    ...account,
    balance: account.balance + delta.balance,
    held: account.held + delta.held,
    version: account.version + 1
  })
}

/** Appends a ledger entry. */
export const append = (
  state: State,
  entry: { readonly account: string; readonly source: string; readonly kind: EntryKind; readonly amount: bigint },
  at: Date
): void => {
  state.entries.push({ id: BigInt(state.entries.length + 1), at, ...entry })
}

/** Writes a plan, all of it in one step that nothing can interrupt. */
export const write = (state: State, plan: Plan, at: Date): void => {
  for (const order of plan.orders) state.orders.set(order.id, order)
  for (const [id, delta] of plan.accounts) move(state, id, delta)
  for (const [sku, delta] of plan.stock) {
    const product = state.products.get(sku)
    if (product === undefined) continue
    state.products.set(sku, {
      ...product,
      onHand: product.onHand + delta.onHand,
      reserved: product.reserved + delta.reserved,
      sold: product.sold + delta.sold
    })
  }
  for (const entry of plan.entries) append(state, entry, at)
  for (const transfer of plan.transfers) {
    state.transfers.set(transfer.id, transfer)
    state.transferKeys.set(transfer.key, transfer.id)
  }
}

/** Runs a decision and its writing in one step. */
export const atomically = <A, E>(decide: (at: Date) => Result.Result<A, E>): Effect.Effect<A, E> =>
  Effect.flatMap(now, (at) => Effect.fromResult(decide(at)))
