/** Whether the books of the shop add up, and every order has ended as it may. */
import type { Inspection } from "../levels/Level.ts"
import { stock } from "../levels/Level.ts"
import type { Charges } from "../scenes/Provider.ts"

/** What customers were told. */
export interface Answers {
  /** Order ids and transfer ids, by the key of the request. */
  readonly orders: ReadonlyMap<string, string>
  readonly transfers: ReadonlyMap<string, string>
}

const ended: ReadonlySet<string> = new Set(["completed", "failed", "cancelled"])

const money = ({ accounts, strangers }: ReturnType<Inspection["books"]>): ReadonlyArray<string> => {
  const wrong: Array<string> = []
  const sums = new Map<string, { balances: bigint; entries: bigint }>()
  for (const { balance, currency, entries, id } of accounts) {
    const sum = sums.get(currency) ?? { balances: 0n, entries: 0n }
    const own = entries.reduce((all, { amount }) => all + amount, 0n)
    sums.set(currency, { balances: sum.balances + balance, entries: sum.entries + own })
    if (own !== balance) wrong.push(`the balance of ${id} is ${balance}, its entries sum to ${own}`)
  }
  for (const [currency, { balances, entries }] of sums) {
    if (balances !== 0n || entries !== 0n) wrong.push(`${currency}: balances sum to ${balances}, entries to ${entries}`)
  }
  for (const account of strangers) wrong.push(`entries of ${account}, which is no account`)
  return wrong
}

/** Everything that is wrong with the shop when all should have ended. */
export const check = (inspect: Inspection, answers: Answers, charges: Charges): ReadonlyArray<string> => {
  const books = inspect.books()
  const wrong = [...money(books)]
  for (const { reserved, sku, units } of books.products) {
    if (units !== stock || reserved !== 0) wrong.push(`${sku}: ${units} units in all, ${reserved} still reserved`)
  }
  const byKey = new Map(books.orders.map((order) => [order.key, order]))
  for (const [key, id] of answers.orders) {
    if (byKey.get(key)?.id !== id) wrong.push(`order ${id} of ${key} was answered and is not there`)
  }
  for (const { id, payment, status, total } of books.orders) {
    if (!ended.has(status)) wrong.push(`order ${id} is left ${status}`)
    const charge = charges.get(id)
    const isCharged = charge?.answer === "charged"
    if (isCharged && payment !== "card") wrong.push(`order ${id} is no card's and was charged`)
    if (isCharged && charge.amount !== total) wrong.push(`order ${id} was charged another amount`)
    if (isCharged && status === "failed") wrong.push(`order ${id} was charged and has failed`)
    if (payment === "card" && status === "completed" && !isCharged) {
      wrong.push(`order ${id} is completed and was never charged`)
    }
  }
  const orders = new Set(books.orders.map(({ id }) => id))
  for (const key of charges.keys()) if (!orders.has(key)) wrong.push(`a card was charged for ${key}, which is no order`)
  const moved = new Map(books.transfers.map(({ id, key }) => [key, id]))
  for (const [key, id] of answers.transfers) {
    if (moved.get(key) !== id) wrong.push(`transfer ${id} of ${key} was answered and is not there`)
  }
  for (const { id, kind, state, worker } of inspect.liveJobs()) {
    wrong.push(`job ${id} (${kind}) is left ${state}${worker === null ? "" : ` at worker ${worker}`}`)
  }
  for (const { id, problem } of inspect.deadJobs()) wrong.push(`job ${id} is dead: ${problem}`)
  return wrong
}
