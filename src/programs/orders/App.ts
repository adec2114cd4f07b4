/** The orders wing of our programs: on an open database, with the payment provider of the sandbox. */
import { Layer } from "effect"
import type * as PostgresJobQueue from "../../layers/jobs/PostgresJobQueue.ts"
import * as PostgresShop from "../../layers/orders/PostgresShop.ts"
import * as SandboxPaymentProvider from "../../layers/orders/SandboxPaymentProvider.ts"
import type * as Database from "../../layers/postgres/Database.ts"
import type { DatabaseError } from "../../layers/postgres/DatabaseError.ts"
import type { PaymentProvider } from "../../services/orders/PaymentProvider.ts"

/** What the wing offers. */
export type Services = PostgresShop.Services | PaymentProvider

/** The wing, on an open database, with such a queue. */
export const layerWith = (
  queue: PostgresJobQueue.Options
): Layer.Layer<Services, DatabaseError, Database.Services> =>
  Layer.merge(PostgresShop.layerWith(queue), SandboxPaymentProvider.layer)

/** {@link layerWith} and its defaults. */
export const layer: Layer.Layer<Services, DatabaseError, Database.Services> = layerWith({})
