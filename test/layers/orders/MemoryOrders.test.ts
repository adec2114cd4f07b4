import { Layer } from "effect"
import * as MemoryCatalog from "../../../src/layers/orders/MemoryCatalog.ts"
import * as MemoryLedger from "../../../src/layers/orders/MemoryLedger.ts"
import * as MemoryOrders from "../../../src/layers/orders/MemoryOrders.ts"
import * as MemoryStore from "../../../src/layers/orders/MemoryStore.ts"
import { suite } from "../../conformance/Orders.suite.ts"
import * as EnqueuedJobs from "../../support/EnqueuedJobs.ts"

suite(
  "memory",
  Layer.mergeAll(MemoryLedger.layer, MemoryCatalog.layer, MemoryOrders.layer).pipe(
    Layer.provide(MemoryStore.layer),
    Layer.provideMerge(EnqueuedJobs.layerMemory)
  )
)
