import { Effect, Layer, Result } from "effect"
import { type Account, isOpenable, type NewAccount } from "../../services/orders/Account.ts"
import { type AuditLine, Ledger, type Receipt } from "../../services/orders/Ledger.ts"
import {
  AccountDiffers,
  AccountNotFound,
  KeyReused,
  TransferNotFound,
  type TransferRefused
} from "../../services/orders/OrdersError.ts"
import * as Transfer from "../../services/orders/Transfer.ts"
import * as Uuid from "../../services/postgres/Uuid.ts"
import * as MemoryStore from "./MemoryStore.ts"

type State = MemoryStore.MemoryStore["Service"]

const open = (state: State, accounts: ReadonlyArray<NewAccount>, at: Date) => {
  for (const account of accounts) {
    const { allowNegative, currency, id } = account
    const known = state.accounts.get(id)
    const differs = known !== undefined && (known.currency !== currency || known.allowNegative !== allowNegative)
    if (differs || !isOpenable(account)) return Result.fail(new AccountDiffers({ id }))
  }
  const before = state.accounts.size
  for (const account of accounts) MemoryStore.open(state, account, at)
  return Result.succeed(state.accounts.size - before)
}

const accountOf = (state: State, id: string): Result.Result<Account, AccountNotFound> => {
  const account = state.accounts.get(id)
  return account === undefined ? Result.fail(new AccountNotFound({ id })) : Result.succeed(account)
}

/** Writes what a rule decided about a transfer. */
const book = (state: State, transfer: Transfer.Transfer, movement: Transfer.Movement, at: Date) => {
  MemoryStore.move(state, transfer.from, movement.from)
  MemoryStore.move(state, transfer.to, { ...movement.to, held: 0n })
  if (movement.isPosted) {
    MemoryStore.append(state, {
      account: transfer.from,
      source: transfer.id,
      kind: "transfer",
      amount: -transfer.amount
    }, at)
    MemoryStore.append(
      state,
      { account: transfer.to, source: transfer.id, kind: "transfer", amount: transfer.amount },
      at
    )
  }
  state.transfers.set(transfer.id, transfer)
  state.transferKeys.set(transfer.key, transfer.id)
}

interface Beginning {
  readonly id: string
  readonly key: string
  readonly request: Transfer.TransferRequest
}

const begin = (
  state: State,
  { id, key, request }: Beginning,
  at: Date
): Result.Result<Receipt<Transfer.Transfer>, AccountNotFound | TransferRefused | KeyReused> =>
  Result.gen(function*() {
    const known = state.transfers.get(state.transferKeys.get(key) ?? "")
    if (known !== undefined) {
      if (Transfer.canonical(Transfer.requestOf(known)) !== Transfer.canonical(request)) {
        return yield* Result.fail(new KeyReused({ key }))
      }
      return { value: Transfer.asOpened(known), isReplayed: true }
    }
    const from = yield* accountOf(state, request.from)
    const to = yield* accountOf(state, request.to)
    const movement = yield* Transfer.open(request, from, to)
    const transfer = Transfer.make(id, key, request, at)
    book(state, transfer, movement, at)
    return { value: transfer, isReplayed: false }
  })

const end = (state: State, id: string, resolution: Transfer.Resolution, at: Date) =>
  Result.gen(function*() {
    const transfer = state.transfers.get(id)
    if (transfer === undefined) return yield* Result.fail(new TransferNotFound({ id }))
    const to = state.accounts.get(transfer.to)
    if (to === undefined) return yield* Result.fail(new TransferNotFound({ id }))
    const movement = yield* Transfer.resolve(transfer, resolution, to, at)
    if (movement === undefined) return transfer
    const after = { ...transfer, state: Transfer.resolvedState[resolution], resolvedAt: at }
    book(state, after, movement, at)
    return after
  })

const expireDue = (state: State, at: Date) => {
  const due = [...state.transfers.values()].filter((transfer) =>
    transfer.state === "pending" && transfer.expiresAt !== null && transfer.expiresAt <= at
  ).slice(0, 1000)
  for (const transfer of due) end(state, transfer.id, "expire", at)
  return Result.succeed(due.length)
}

const audit = (state: State): ReadonlyArray<AuditLine> => {
  const lines = new Map<string, { -readonly [K in keyof AuditLine]: AuditLine[K] }>()
  const sums = new Map<string, bigint>()
  for (const entry of state.entries) sums.set(entry.account, (sums.get(entry.account) ?? 0n) + entry.amount)
  const holds = new Map<string, bigint>()
  for (const transfer of state.transfers.values()) {
    if (transfer.state === "pending") holds.set(transfer.from, (holds.get(transfer.from) ?? 0n) + transfer.amount)
  }
  for (const account of state.accounts.values()) {
    const line = lines.get(account.currency) ?? {
      currency: account.currency,
      accounts: 0,
      entriesSum: 0n,
      balancesSum: 0n,
      unbalancedAccounts: 0,
      unheldAccounts: 0,
      overdrawnAccounts: 0,
      // Nothing moves here on an account that is not there.
      unknownAccounts: []
    }
    const sum = sums.get(account.id) ?? 0n
    line.accounts += 1
    line.entriesSum += sum
    line.balancesSum += account.balance
    if (sum !== account.balance) line.unbalancedAccounts += 1
    if ((holds.get(account.id) ?? 0n) !== account.held) line.unheldAccounts += 1
    if (!account.allowNegative && account.balance - account.held < 0n) line.overdrawnAccounts += 1
    lines.set(account.currency, line)
  }
  return [...lines.values()].sort((a, b) => a.currency < b.currency ? -1 : 1)
}

const make = Effect.gen(function*() {
  const state = yield* MemoryStore.MemoryStore
  return Ledger.of({
    open: (accounts) => MemoryStore.atomically((at) => open(state, accounts, at)),
    find: (id) => Effect.suspend(() => Effect.fromResult(accountOf(state, id))),
    entries: (account, page) =>
      Effect.sync(() =>
        state.entries.filter((entry) =>
          entry.account === account && (page?.before === undefined || entry.id < page.before)
        ).reverse().slice(0, Math.max(1, Math.min(1000, page?.limit ?? 100)))
      ),
    transfer: (key, request) =>
      Effect.flatMap(Uuid.next, (id) => MemoryStore.atomically((at) => begin(state, { id, key, request }, at))),
    resolve: (id, resolution) => MemoryStore.atomically((at) => end(state, id, resolution, at)),
    expireDue: MemoryStore.atomically((at) => expireDue(state, at)),
    audit: Effect.sync(() => audit(state))
  })
})

/** The ledger in memory. */
export const layer: Layer.Layer<Ledger, never, MemoryStore.MemoryStore> = Layer.effect(Ledger, make)
