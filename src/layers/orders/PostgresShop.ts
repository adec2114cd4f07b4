/** The whole orders wing on a database, queue included; who charges cards is up to the program. */
import type { PgClient } from "@effect/sql-pg/PgClient"
import { Layer } from "effect"
import type { Catalog } from "../../services/orders/Catalog.ts"
import type { Ledger } from "../../services/orders/Ledger.ts"
import type { OrderProcessor } from "../../services/orders/OrderProcessor.ts"
import type { Orders } from "../../services/orders/Orders.ts"
import * as PostgresJobQueue from "../jobs/PostgresJobQueue.ts"
import type { ReadClient } from "../postgres/Database.ts"
import * as PostgresCatalog from "./PostgresCatalog.ts"
import * as PostgresLedger from "./PostgresLedger.ts"
import * as PostgresOrderProcessor from "./PostgresOrderProcessor.ts"
import * as PostgresOrders from "./PostgresOrders.ts"

/** What the wing offers. */
export type Services = Ledger | Catalog | Orders | OrderProcessor | PostgresJobQueue.Services

/** The wing on an open database, with such a queue. */
export const layerWith = (queue: PostgresJobQueue.Options): Layer.Layer<Services, never, PgClient | ReadClient> =>
  Layer.mergeAll(
    PostgresLedger.layer,
    PostgresCatalog.layer,
    PostgresOrders.layer,
    PostgresOrderProcessor.layer
  ).pipe(Layer.provideMerge(PostgresJobQueue.layerWith(queue)))

/** {@link layerWith} and its defaults. */
export const layer: Layer.Layer<Services, never, PgClient | ReadClient> = layerWith({})
