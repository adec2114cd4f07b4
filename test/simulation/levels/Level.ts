/**
 * Where the state of a simulated world is kept, and how its processes reach it. One suite of scenes plays on each: over the memory layers
 * of the house (fast: the engine and its protocol), over a real Postgres in process (all of it, down to the bytes and the SQL).
 */
import { Context, type Effect, type Layer } from "effect"
import type { Frontier } from "../../../src/services/fetch/Frontier.ts"
import type { FetchKeys } from "../../../src/services/http/FetchKeys.ts"
import type { JobAdmin } from "../../../src/services/jobs/JobAdmin.ts"
import type { JobQueueError } from "../../../src/services/jobs/JobError.ts"
import type { JobQueue } from "../../../src/services/jobs/JobQueue.ts"
import type { JobRecords, JobStore } from "../../../src/services/jobs/JobStore.ts"
import type { Catalog } from "../../../src/services/orders/Catalog.ts"
import type { Ledger } from "../../../src/services/orders/Ledger.ts"
import type { OrderProcessor } from "../../../src/services/orders/OrderProcessor.ts"
import type { Orders } from "../../../src/services/orders/Orders.ts"
import type { Kernel } from "../kernel/Kernel.ts"
import type { Network } from "../kernel/Network.ts"
import type { Process } from "../kernel/Process.ts"

/** Of each product of the shop; it is sold and never made. */
export const stock = 400

/** Rows that many transactions of the jobs scene change. */
export const shelves = 3

/** What a handler of the jobs scene did: written in its transaction, when it has one. */
export interface Effected {
  readonly n: number
  readonly kind: string
  readonly key: number | null
}

/** A table of the scene's own, beside the house's. */
export class EffectTable extends Context.Service<EffectTable, {
  /** Writes rows, and counts one up on each shelf: what other transactions want at the same time. */
  readonly write: (
    rows: ReadonlyArray<Effected>,
    shelves?: ReadonlyArray<number>
  ) => Effect.Effect<void, JobQueueError>
}>()("test/simulation/EffectTable") {}

export type JobServices = JobStore | JobRecords | JobQueue | JobAdmin
export type ShopServices = Orders | Ledger | Catalog | OrderProcessor
export type FetchServices = Frontier | FetchKeys

/** A job that has not ended, whoever keeps it. */
export interface LiveJob {
  readonly id: string
  readonly kind: string
  readonly state: string
  readonly attempt: number
  readonly worker: number | null
}

export interface BookAccount {
  readonly id: string
  readonly currency: string
  readonly balance: bigint
  readonly version: number
  /** In the order of writing. */
  readonly entries: ReadonlyArray<{ readonly source: string; readonly amount: bigint }>
}

export interface BookOrder {
  readonly id: string
  readonly key: string
  readonly status: string
  readonly payment: string
  readonly total: bigint
}

/** What an account book says, when nobody writes in it. */
export interface Books {
  readonly accounts: ReadonlyArray<BookAccount>
  readonly strangers: ReadonlyArray<string>
  readonly products: ReadonlyArray<{ readonly sku: string; readonly units: number; readonly reserved: number }>
  readonly orders: ReadonlyArray<BookOrder>
  readonly transfers: ReadonlyArray<{ readonly id: string; readonly key: string }>
}

/** A fetch run as it stands. */
export interface RunState {
  readonly outcomes: ReadonlyArray<{ readonly url: string; readonly ok: boolean; readonly tag: string | null }>
  readonly pending: number
  readonly leased: number
  readonly deferred: number
}

/** What checkers see: what is committed, without a way through the simulated network. */
export interface Inspection {
  readonly liveJobs: () => ReadonlyArray<LiveJob>
  readonly deadJobs: () => ReadonlyArray<{ readonly id: string; readonly problem: string }>
  /** Running jobs by queue, as the counters have it. */
  readonly counters: () => ReadonlyArray<{ readonly queue: string; readonly running: number; readonly ready: number }>
  readonly effects: () => ReadonlyArray<Effected>
  readonly shelved: () => number
  readonly books: () => Books
  readonly run: (name: string) => RunState
}

/** Ways in which a database is not what it should be. */
export const troubles = ["53300", "25006", "53100", "40001", "40P01"] as const
export type Trouble = typeof troubles[number]

/** What can be done to the store. */
export interface Control {
  /** It goes away with everything that was not committed, and is back after so long. */
  readonly restart: (millis: number) => void
  /** It takes everything and answers nothing for so long. */
  readonly hang: (millis: number) => void
  /** For so long what is asked of it fails so, now and then. */
  readonly trouble: (kind: Trouble, millis: number) => void
  /** How often connections break around what is asked. */
  readonly breakage: (before: number, after: number) => void
  readonly heal: () => void
}

/** The state of one world. */
export interface Store {
  readonly jobs: (process: Process) => Layer.Layer<JobServices | EffectTable, unknown>
  readonly shop: (process: Process) => Layer.Layer<JobServices | ShopServices, unknown>
  readonly fetches: (process: Process) => Layer.Layer<FetchServices, unknown>
  readonly inspect: Inspection
  readonly control: Control
  /** What was seen to be wrong between two statements. */
  readonly wrong: ReadonlySet<string>
  /** Whether it takes a process that is silent for dead; else somebody has to end it. */
  readonly missesTheSilent: boolean
  /** Whether its clients wait out what is wrong with it; else they are told at once. */
  readonly isWaitedFor: boolean
  /** What was asked of it so far. */
  readonly statements: () => number
  readonly close: () => void
}

export interface Level {
  readonly name: "memory" | "pglite" | "postgres"
  /** An empty store for a new world. */
  readonly open: (kernel: Kernel, network: Network) => Store
}
