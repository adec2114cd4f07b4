/** Transfers and reads of a few accounts, as clients saw them, with what the ledger kept in the end: a history that `Cycles` can judge. */
import type { Books } from "../levels/Level.ts"
import * as Cycles from "./Cycles.ts"

/** A client's look at an account. */
export interface Look {
  readonly account: string
  readonly version: number
  readonly balance: bigint
  readonly beganAt: number
  readonly endedAt: number
}

/** When a transfer was first asked for, and when it was answered. */
export interface Asked {
  readonly beganAt: number
  readonly endedAt: number | undefined
}

/** Every movement of these accounts is one entry of each, and one version: the first is the account's opening. */
export const check = (
  { accounts, transfers }: Books,
  names: ReadonlySet<string>,
  looks: ReadonlyArray<Look>,
  asked: ReadonlyMap<string, Asked>
): ReadonlyArray<string> => {
  const wrong: Array<string> = []
  const keys = new Map(transfers.map(({ id, key }) => [id, key]))
  const writes = new Map<string, Array<Cycles.Access>>()
  const balances = new Map<string, ReadonlyArray<bigint>>()
  for (const { entries, id, version } of accounts) {
    if (!names.has(id)) continue
    if (version !== entries.length + 1) wrong.push(`${id} is at version ${version} after ${entries.length} movements`)
    const sums = [0n]
    for (const [at, { amount, source }] of entries.entries()) {
      sums.push((sums[at] ?? 0n) + amount)
      const known = writes.get(source) ?? []
      known.push({ object: id, version: at + 1 })
      writes.set(source, known)
    }
    balances.set(id, sums)
  }
  const moved = [...writes].map(([source, accesses]): Cycles.Transaction => {
    const key = keys.get(source) ?? source
    const { beganAt, endedAt } = asked.get(key) ?? { beganAt: 0, endedAt: undefined }
    // A movement is made from the version before.
    const reads = accesses.map(({ object, version }) => ({ object, version: version - 1 }))
    return { name: `transfer ${key}`, beganAt, endedAt, reads, writes: accesses }
  })
  const looked = looks.map(({ account, balance, beganAt, endedAt, version }, at): Cycles.Transaction => {
    const due = balances.get(account)?.[version - 1]
    if (due !== balance) wrong.push(`${account} was seen with ${balance} at version ${version}, where it has ${due}`)
    return { name: `look ${at}`, beganAt, endedAt, reads: [{ object: account, version: version - 1 }], writes: [] }
  })
  return [...wrong, ...Cycles.check([...moved, ...looked])]
}
