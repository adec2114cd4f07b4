import { Layer } from "effect"
import * as PostgresCatalog from "../../../src/layers/orders/PostgresCatalog.ts"
import * as PostgresLedger from "../../../src/layers/orders/PostgresLedger.ts"
import * as PostgresOrderProcessor from "../../../src/layers/orders/PostgresOrderProcessor.ts"
import * as PostgresOrders from "../../../src/layers/orders/PostgresOrders.ts"
import { suite } from "../../conformance/Orders.suite.ts"
import * as EnqueuedJobs from "../../support/EnqueuedJobs.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

suite(
  "Postgres",
  Layer.mergeAll(
    PostgresLedger.layer,
    PostgresCatalog.layer,
    PostgresOrders.layerOptions({ watchMillis: 10 }),
    PostgresOrderProcessor.layer
  ).pipe(Layer.provideMerge(EnqueuedJobs.layerPostgres), Layer.provideMerge(TestDatabase.layer))
)
