/** Worlds over the memory layers: the engines and their protocol, at hundreds of virtual hours a real one. */
import { Context, Effect, Option, Stream } from "effect"
import * as OrdersStore from "../../../src/layers/orders/MemoryStore.ts"
import { Frontier } from "../../../src/services/fetch/Frontier.ts"
import { JobRecords } from "../../../src/services/jobs/JobStore.ts"
import type { Books, Inspection, Level, RunState } from "./Level.ts"
import * as MemoryProxies from "./MemoryProxies.ts"
import { MemoryStore } from "./MemoryStore.ts"

const booksOf = (state: OrdersStore.MemoryStore["Service"]): Books => {
  const entries = new Map<string, Array<{ readonly source: string; readonly amount: bigint }>>()
  for (const { account, amount, source } of state.entries) {
    const all = entries.get(account) ?? []
    all.push({ source, amount })
    entries.set(account, all)
  }
  return {
    accounts: [...state.accounts.values()].map(({ balance, currency, id, version }) => ({
      id,
      currency,
      balance,
      version,
      entries: entries.get(id) ?? []
    })),
    strangers: [...entries.keys()].filter((id) => !state.accounts.has(id)),
    products: [...state.products.values()].map(({ onHand, reserved, sku, sold }) => ({
      sku,
      units: onHand + reserved + sold,
      reserved
    })),
    orders: [...state.orderKeys].flatMap(([key, id]) => {
      const order = state.orders.get(id)
      return order === undefined
        ? []
        : [{ id, key, status: order.status, payment: order.payment, total: order.total }]
    }),
    transfers: [...state.transferKeys].map(([key, id]) => ({ key, id }))
  }
}

const inspectionOf = (store: MemoryStore): Inspection => {
  /** The memory layers answer without waiting for anything. */
  const now = <A, E>(effect: Effect.Effect<A, E>): A => Effect.runSync(Effect.orDie(effect))
  const records = Context.get(store.services, JobRecords)
  const frontier = Context.get(store.services, Frontier)
  const listed = (states: ReadonlyArray<string>) =>
    now(records.list({ limit: 100_000 })).jobs.filter(({ state }) => states.includes(state))
  return {
    liveJobs: () => listed(["ready", "running", "scheduled", "blocked"]),
    deadJobs: () => listed(["dead"]).map(({ failure, id }) => ({ id, problem: JSON.stringify(failure) })),
    // Counted from the rows themselves: there is nothing to compare.
    counters: () => [],
    effects: () => store.effects,
    shelved: () => store.shelved,
    books: () => booksOf(Context.get(store.services, OrdersStore.MemoryStore)),
    run: (name): RunState => {
      const found = now(Effect.option(frontier.find(name)))
      if (Option.isNone(found)) return { outcomes: [], pending: 0, leased: 0, deferred: 0 }
      const { deferred, leased, pending } = found.value.counts
      const outcomes = now(Stream.runCollect(frontier.outcomes(name)))
      return {
        deferred,
        leased,
        pending,
        outcomes: outcomes.map(({ error, ok, url }) => ({ url, ok, tag: error?._tag ?? null }))
      }
    }
  }
}

const imbalances = ({ accounts }: OrdersStore.MemoryStore["Service"]): ReadonlyArray<string> => {
  let sum = 0n
  for (const { balance } of accounts.values()) sum += balance
  return sum === 0n ? [] : [`the balances sum to ${sum}`]
}

/** A store of the memory layers. */
export const level: Level = {
  name: "memory",
  open: (kernel, network) => {
    const store = new MemoryStore(kernel, network)
    const state = Context.get(store.services, OrdersStore.MemoryStore)
    const wrong = new Set<string>()
    store.onCall = () => {
      for (const problem of imbalances(state)) wrong.add(problem)
    }
    return {
      jobs: (process) => MemoryProxies.jobs(store, process),
      shop: (process) => MemoryProxies.shop(store, process),
      fetches: (process) => MemoryProxies.fetches(store, process),
      inspect: inspectionOf(store),
      control: store.control,
      wrong,
      missesTheSilent: false,
      isWaitedFor: false,
      statements: () => store.calls,
      close: () => store.process.kill()
    }
  }
}
