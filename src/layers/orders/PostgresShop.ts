/** The whole orders wing on a database, queue included; who charges cards is up to the program. */
import { Effect, Layer } from "effect"
import type { Catalog } from "../../services/orders/Catalog.ts"
import type { Ledger } from "../../services/orders/Ledger.ts"
import type { OrderProcessor } from "../../services/orders/OrderProcessor.ts"
import type { Orders } from "../../services/orders/Orders.ts"
import * as PostgresJobQueue from "../jobs/PostgresJobQueue.ts"
import * as Database from "../postgres/Database.ts"
import type { DatabaseError } from "../postgres/DatabaseError.ts"
import * as PostgresCatalog from "./PostgresCatalog.ts"
import * as PostgresLedger from "./PostgresLedger.ts"
import * as PostgresOrderProcessor from "./PostgresOrderProcessor.ts"
import * as PostgresOrders from "./PostgresOrders.ts"

/** What the wing offers. */
export type Services = Ledger | Catalog | Orders | OrderProcessor | PostgresJobQueue.Services

/** The wing on an open database, with such a queue. */
export const layerWith = (queue: PostgresJobQueue.Options): Layer.Layer<Services, DatabaseError, Database.Services> =>
  Layer.mergeAll(
    PostgresLedger.layer,
    PostgresCatalog.layer,
    PostgresOrders.layer,
    PostgresOrderProcessor.layer
  ).pipe(
    Layer.provideMerge(PostgresJobQueue.layerWith(queue)),
    // All that is missing is named at once.
    (shop) => Layer.unwrap(Effect.as(Database.tables("orders"), shop))
  )

/** {@link layerWith} and its defaults. */
export const layer: Layer.Layer<Services, DatabaseError, Database.Services> = layerWith({})
