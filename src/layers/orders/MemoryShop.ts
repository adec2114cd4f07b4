import { Layer } from "effect"
import type { JobAdmin } from "../../services/jobs/JobAdmin.ts"
import type { JobQueue } from "../../services/jobs/JobQueue.ts"
import type { JobRecords, JobStore } from "../../services/jobs/JobStore.ts"
import type { Catalog } from "../../services/orders/Catalog.ts"
import type { Ledger } from "../../services/orders/Ledger.ts"
import type { OrderProcessor } from "../../services/orders/OrderProcessor.ts"
import type { Orders } from "../../services/orders/Orders.ts"
import * as MemoryJobQueue from "../jobs/MemoryJobQueue.ts"
import * as MemoryCatalog from "./MemoryCatalog.ts"
import * as MemoryLedger from "./MemoryLedger.ts"
import * as MemoryOrders from "./MemoryOrders.ts"
import * as MemoryStore from "./MemoryStore.ts"

/** The whole orders wing in memory, queue included: for tests, and for trying things out. Lost with the process. */
export const layer: Layer.Layer<
  Ledger | Catalog | Orders | OrderProcessor | JobQueue | JobAdmin | JobStore | JobRecords
> = Layer.mergeAll(MemoryLedger.layer, MemoryCatalog.layer, MemoryOrders.layer).pipe(
  Layer.provide(MemoryStore.layer),
  Layer.provideMerge(MemoryJobQueue.layerMemory)
)
