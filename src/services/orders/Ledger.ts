/** The ledger: append-only, double entry. Money is never made or lost: every movement has two sides that sum to zero. */
import type { Effect } from "effect"
import { Context } from "effect"
import type { Account, NewAccount } from "./Account.ts"
import type {
  AccountDiffers,
  AccountNotFound,
  KeyInFlight,
  KeyReused,
  OrdersStoreError,
  TransferNotFound,
  TransferRefused
} from "./OrdersError.ts"
import type { LedgerEntry, Transfer, TransferRequest } from "./Transfer.ts"

/** An answer, and whether it is the one that an earlier request with the same key got. */
export interface Receipt<A> {
  readonly value: A
  readonly isReplayed: boolean
}

/** One currency of an audit. All differences are zero in a sound ledger. */
export interface AuditLine {
  /** `none` for entries and pending transfers of accounts that are not there. */
  readonly currency: string
  readonly accounts: number
  /** The sum of all entries: zero. */
  readonly entriesSum: bigint
  /** The sum of all balances: zero. */
  readonly balancesSum: bigint
  /** Accounts whose balance is not the sum of their entries. */
  readonly unbalancedAccounts: number
  /** Accounts whose held amount is not the sum of their pending transfers. */
  readonly unheldAccounts: number
  /** Accounts that have less than nothing to spend without being allowed to. */
  readonly overdrawnAccounts: number
  /** Names that entries or pending transfers have and no account, in the order of the alphabet; at most 20. */
  readonly unknownAccounts: ReadonlyArray<string>
}

/** Whether an audit found nothing wrong. */
export const isSound = (lines: ReadonlyArray<AuditLine>): boolean =>
  lines.every((line) =>
    line.entriesSum === 0n && line.balancesSum === 0n && line.unbalancedAccounts === 0 && line.unheldAccounts === 0 &&
    line.overdrawnAccounts === 0 && line.unknownAccounts.length === 0
  )

/** Accounts, transfers and the entries that they leave. */
export class Ledger extends Context.Service<Ledger, {
  /** Opens accounts, and says how many were new; one that is already open in the same way is left alone. All or none. */
  readonly open: (
    accounts: ReadonlyArray<NewAccount>
  ) => Effect.Effect<number, AccountDiffers | OrdersStoreError>
  readonly find: (id: string) => Effect.Effect<Account, AccountNotFound | OrdersStoreError>
  /** Entries of an account, the latest first; `before` is the id of the last entry of the page before. At most 1000. */
  readonly entries: (
    account: string,
    page?: { readonly before?: bigint | undefined; readonly limit?: number | undefined }
  ) => Effect.Effect<ReadonlyArray<LedgerEntry>, OrdersStoreError>
  /** Moves money, or sets it aside; the same key with the same request gets the first answer again. */
  readonly transfer: (
    key: string,
    request: TransferRequest
  ) => Effect.Effect<
    Receipt<Transfer>,
    AccountNotFound | TransferRefused | KeyReused | KeyInFlight | OrdersStoreError
  >
  /** Ends a pending transfer; asking again for the same end is answered the same. */
  readonly resolve: (
    id: string,
    resolution: "post" | "void"
  ) => Effect.Effect<Transfer, TransferNotFound | TransferRefused | OrdersStoreError>
  /** Expires pending transfers whose time is over, at most 1000; says how many. */
  readonly expireDue: Effect.Effect<number, OrdersStoreError>
  /** Recomputes everything from the entries: one line for each currency. */
  readonly audit: Effect.Effect<ReadonlyArray<AuditLine>, OrdersStoreError>
}>()("sluice/services/orders/Ledger") {}
