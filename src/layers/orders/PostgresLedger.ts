/** The ledger in Postgres. */
import * as PgClient from "@effect/sql-pg/PgClient"
import { Effect, Layer } from "effect"
import { type Account, isOpenable, type NewAccount } from "../../services/orders/Account.ts"
import { type AuditLine, Ledger } from "../../services/orders/Ledger.ts"
import { AccountDiffers, AccountNotFound, KeyReused, TransferNotFound } from "../../services/orders/OrdersError.ts"
import * as Transfer from "../../services/orders/Transfer.ts"
import * as Uuid from "../../services/postgres/Uuid.ts"
import * as Columns from "../postgres/Columns.ts"
import * as Database from "../postgres/Database.ts"
import type { DatabaseError } from "../postgres/DatabaseError.ts"
import * as SqlFunction from "../postgres/SqlFunction.ts"
import * as RequestLane from "./RequestLane.ts"
import * as StoreFailure from "./StoreFailure.ts"

interface AccountRow {
  readonly id: string
  readonly currency: string
  readonly balance: bigint
  readonly held: bigint
  readonly allow_negative: boolean
  readonly version: bigint
  readonly created_at: Date
}

const toAccount = (row: AccountRow): Account => ({
  id: row.id,
  currency: row.currency,
  balance: row.balance,
  held: row.held,
  allowNegative: row.allow_negative,
  version: Number(row.version),
  createdAt: row.created_at
})

/** A transfer as a row. */
export interface TransferRow {
  readonly id: string
  readonly key: string
  readonly from_account: string
  readonly to_account: string
  readonly amount: bigint
  readonly currency: string
  readonly reference: string | null
  readonly state: Transfer.TransferState
  readonly expires_at: Date | null
  readonly created_at: Date
  readonly resolved_at: Date | null
}

/** From the row. */
export const toTransfer = (row: TransferRow): Transfer.Transfer => ({
  id: row.id,
  key: row.key,
  from: row.from_account,
  to: row.to_account,
  amount: row.amount,
  currency: row.currency,
  reference: row.reference,
  state: row.state,
  expiresAt: row.expires_at,
  createdAt: row.created_at,
  resolvedAt: row.resolved_at
})

const makeStatements = (sql: PgClient.PgClient, reads: PgClient.PgClient) => {
  const lockAccounts = Effect.fnUntraced(function*(ids: ReadonlyArray<string>) {
    const rows = yield* sql<AccountRow>`
      select id, currency, balance, held, allow_negative, version, created_at from sluice.accounts
      where id = any(${Columns.texts(ids)}) order by id for no key update`
    return new Map(rows.map((row) => [row.id, toAccount(row)]))
  })

  /** What a rule decided about a transfer: balances and, when posted, the two entries. */
  const book = (transfer: Transfer.Transfer, movement: Transfer.Movement) =>
    SqlFunction.call(sql, "write_transfer", {
      transfer: transfer.id,
      payer: transfer.from,
      payee: transfer.to,
      balances: Columns.bigints([movement.from.balance, movement.to.balance]),
      held: movement.from.held,
      posted: movement.isPosted ? transfer.amount : 0n
    })

  const byKey = Effect.fnUntraced(function*(key: string) {
    const rows = yield* sql<TransferRow>`select * from sluice.transfers where key = ${key}`
    return rows[0] === undefined ? undefined : toTransfer(rows[0])
  })

  const clock = Effect.map(
    sql<{ readonly at: Date }>`select now() as at`,
    // A select without from answers one row.
    (rows) => rows[0]?.at ?? new Date(0)
  )

  const insert = (transfer: Transfer.Transfer) =>
    sql<{ readonly id: string }>`
      insert into sluice.transfers
        (id, key, from_account, to_account, amount, currency, reference, state, expires_at, created_at, resolved_at)
      values (${transfer.id}::uuid, ${transfer.key}, ${transfer.from}, ${transfer.to}, ${transfer.amount}, ${transfer.currency},
        ${transfer.reference}, ${transfer.state}, ${transfer.expiresAt}, ${transfer.createdAt}, ${transfer.resolvedAt})
      on conflict (key) do nothing returning id`

  const find = Effect.fnUntraced(function*(id: string) {
    const rows = yield* reads<AccountRow>`
      select id, currency, balance, held, allow_negative, version, created_at from sluice.accounts where id = ${id}`
    return rows[0] === undefined ? yield* new AccountNotFound({ id }) : toAccount(rows[0])
  })
  return { lockAccounts, book, byKey, clock, insert, find }
}

type Statements = ReturnType<typeof makeStatements>

const replayOf = (known: Transfer.Transfer, key: string, request: Transfer.TransferRequest) =>
  Transfer.canonical(Transfer.requestOf(known)) === Transfer.canonical(request)
    ? Effect.succeed({ value: Transfer.asOpened(known), isReplayed: true })
    : Effect.fail(new KeyReused({ key }))

const begin = Effect.fnUntraced(function*(
  statements: Statements,
  id: string,
  key: string,
  request: Transfer.TransferRequest
) {
  const accounts = yield* statements.lockAccounts([request.from, request.to])
  // Only now: a first request with this key holds the same locks until it has committed.
  const known = yield* statements.byKey(key)
  if (known !== undefined) return yield* replayOf(known, key, request)
  const from = accounts.get(request.from)
  const to = accounts.get(request.to)
  if (from === undefined) return yield* new AccountNotFound({ id: request.from })
  if (to === undefined) return yield* new AccountNotFound({ id: request.to })
  const movement = yield* Effect.fromResult(Transfer.open(request, from, to))
  const transfer = Transfer.make(id, key, request, yield* statements.clock)
  const inserted = yield* statements.insert(transfer)
  if (inserted.length === 0) {
    // Another request with this key committed after we had looked.
    const first = yield* statements.byKey(key)
    return yield* first === undefined ? new KeyReused({ key }) : replayOf(first, key, request)
  }
  yield* statements.book(transfer, movement)
  return { value: transfer, isReplayed: false }
})

const end = Effect.fnUntraced(function*(
  sql: PgClient.PgClient,
  statements: Statements,
  id: string,
  resolution: Transfer.Resolution
) {
  const rows = yield* sql<TransferRow>`select * from sluice.transfers where id = ${id}::uuid for no key update`
  if (rows[0] === undefined) return yield* new TransferNotFound({ id })
  const transfer = toTransfer(rows[0])
  const accounts = yield* statements.lockAccounts([transfer.from, transfer.to])
  const to = accounts.get(transfer.to)
  if (to === undefined) return yield* new TransferNotFound({ id })
  const at = yield* statements.clock
  const movement = yield* Effect.fromResult(Transfer.resolve(transfer, resolution, to, at))
  if (movement === undefined) return transfer
  const state = Transfer.resolvedState[resolution]
  yield* sql`update sluice.transfers set state = ${state}, resolved_at = ${at} where id = ${id}::uuid`
  yield* statements.book(transfer, movement)
  return { ...transfer, state, resolvedAt: at }
})

interface AuditRow {
  readonly currency: string
  readonly accounts: bigint
  readonly entries_sum: string
  readonly balances_sum: string
  readonly unbalanced: bigint
  readonly unheld: bigint
  readonly overdrawn: bigint
  readonly unknown: ReadonlyArray<string>
}

const audit = (sql: PgClient.PgClient) =>
  Effect.map(
    sql<AuditRow>`select * from sluice.ledger_audit order by currency`,
    (rows) =>
      rows.map((row): AuditLine => ({
        currency: row.currency,
        accounts: Number(row.accounts),
        entriesSum: BigInt(row.entries_sum),
        balancesSum: BigInt(row.balances_sum),
        unbalancedAccounts: Number(row.unbalanced),
        unheldAccounts: Number(row.unheld),
        overdrawnAccounts: Number(row.overdrawn),
        unknownAccounts: row.unknown
      }))
  )

interface EntryRow {
  readonly id: bigint
  readonly account: string
  readonly source: string
  readonly kind: Transfer.EntryKind
  readonly amount: bigint
  readonly at: Date
}

const maxInt8 = 9_223_372_036_854_775_807n

/** Opens those that are not open yet. */
export const openNew = (sql: PgClient.PgClient, accounts: ReadonlyArray<NewAccount>) =>
  sql<{ readonly id: string }>`insert into sluice.accounts (id, currency, allow_negative)
    select * from unnest(${Columns.texts(accounts.map((account) => account.id))}, ${
    Columns.texts(accounts.map((account) => account.currency))
  }, ${Columns.booleans(accounts.map((account) => account.allowNegative))}) order by 1
    on conflict (id) do nothing returning id`

const make = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  const reads = yield* Database.ReadClient
  const statements = makeStatements(sql, reads)
  const transact = yield* RequestLane.make(sql, "the ledger's lane")

  const open: Ledger["Service"]["open"] = Effect.fn("Ledger.open")(function*(accounts) {
    const impossible = accounts.find((account) => !isOpenable(account))
    if (impossible !== undefined) return yield* new AccountDiffers({ id: impossible.id })
    const opened = yield* openNew(sql, accounts)
    const known = yield* sql<AccountRow>`select id, currency, allow_negative from sluice.accounts
      where id = any(${Columns.texts(accounts.map((account) => account.id))})`
    const asked = new Map(accounts.map((account) => [account.id, account]))
    const differs = known.find((row) => {
      const account = asked.get(row.id)
      return account?.currency !== row.currency || account.allowNegative !== row.allow_negative
    })
    return yield* differs === undefined
      ? Effect.succeed(opened.length)
      : Effect.fail(new AccountDiffers({ id: differs.id }))
  }, transact("Ledger.open"))

  const expireDue = Effect.gen(function*() {
    const due = yield* sql<{ readonly id: string }>`
      select id from sluice.transfers where state = 'pending' and expires_at <= now() order by expires_at limit 1000`
    for (const { id } of due) {
      yield* end(sql, statements, id, "expire").pipe(
        StoreFailure.transact(sql, "Ledger.expireDue"),
        // Posted or voided since we looked: nothing to expire.
        Effect.catchTags({ TransferRefused: () => Effect.void, TransferNotFound: () => Effect.void })
      )
    }
    return due.length
  }).pipe(StoreFailure.named("Ledger.expireDue"), Effect.withSpan("Ledger.expireDue"))

  return Ledger.of({
    open,
    find: (id) => StoreFailure.named("Ledger.find")(statements.find(id)),
    entries: (account, page) =>
      StoreFailure.named("Ledger.entries")(reads<EntryRow>`
        select id, account, source, kind, amount, at from sluice.ledger_entries
        where account = ${account} and id < ${page?.before ?? maxInt8}
        order by id desc limit ${Math.max(1, Math.min(1000, page?.limit ?? 100))}`),
    transfer: Effect.fn("Ledger.transfer")(function*(key, request) {
      const id = yield* Uuid.next
      return yield* transact("Ledger.transfer")(begin(statements, id, key, request))
    }),
    resolve: Effect.fn("Ledger.resolve")(function*(id, resolution) {
      return yield* transact("Ledger.resolve")(end(sql, statements, id, resolution))
    }),
    expireDue,
    audit: StoreFailure.named("Ledger.audit")(audit(sql))
  })
})

/** The ledger in Postgres. */
export const layer: Layer.Layer<Ledger, DatabaseError, Database.Services> = Layer.effect(
  Ledger,
  Effect.andThen(Database.tables("orders"), make)
)
