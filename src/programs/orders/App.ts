/** The orders wing on a database: everything that its programs need. */
import type { PgClient } from "@effect/sql-pg/PgClient"
import { Layer } from "effect"
import * as PostgresJobQueue from "../../layers/jobs/PostgresJobQueue.ts"
import * as PostgresCatalog from "../../layers/orders/PostgresCatalog.ts"
import * as PostgresLedger from "../../layers/orders/PostgresLedger.ts"
import * as PostgresOrderProcessor from "../../layers/orders/PostgresOrderProcessor.ts"
import * as PostgresOrders from "../../layers/orders/PostgresOrders.ts"
import * as SandboxPaymentProvider from "../../layers/orders/SandboxPaymentProvider.ts"
import type * as Database from "../../layers/postgres/Database.ts"
import type { Catalog } from "../../services/orders/Catalog.ts"
import type { Ledger } from "../../services/orders/Ledger.ts"
import type { OrderProcessor } from "../../services/orders/OrderProcessor.ts"
import type { Orders } from "../../services/orders/Orders.ts"
import type { PaymentProvider } from "../../services/orders/PaymentProvider.ts"

/** What the wing offers. */
export type Services =
  | Orders
  | Ledger
  | Catalog
  | OrderProcessor
  | PaymentProvider
  | PostgresJobQueue.Services

/** The wing, on an open database, with such a queue. */
export const layerWith = (
  queue: PostgresJobQueue.Options
): Layer.Layer<Services, never, PgClient | Database.ReadClient> =>
  Layer.mergeAll(
    PostgresLedger.layer,
    PostgresCatalog.layer,
    PostgresOrders.layer,
    PostgresOrderProcessor.layer,
    SandboxPaymentProvider.layer
  ).pipe(Layer.provideMerge(PostgresJobQueue.layerWith(queue)))

/** {@link layerWith} and its defaults. */
export const layer: Layer.Layer<Services, never, PgClient | Database.ReadClient> = layerWith({})
