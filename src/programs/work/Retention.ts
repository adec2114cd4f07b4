/** What is taken away by itself when it is too old, as the environment says. */
import type { PgClient } from "@effect/sql-pg/PgClient"
import { Config, Duration, Effect, Layer, Option, Schema } from "effect"
import * as OrderRetention from "../../layers/orders/OrderRetention.ts"
import { ShortDuration } from "../../services/tasks/ShortDuration.ts"

/** A caller that has no answer may send its key again for so long. */
const least = Duration.days(1)

const Kept = ShortDuration.check(
  Schema.makeFilter((kept) => Duration.isGreaterThanOrEqualTo(kept, least), {
    expected: "at least 24h, for which a caller may still send its idempotency key again"
  })
)

/** `SLUICE_RETAIN_ORDERS`: how long an order is kept after its end. @default for ever */
const orders = Config.option(Config.schema(Kept, "SLUICE_RETAIN_ORDERS"))

/** The chores that keep within what was set; none by default. */
export const layer: Layer.Layer<never, Config.ConfigError, PgClient> = Layer.unwrap(
  Effect.map(orders, Option.match({ onNone: () => Layer.empty, onSome: OrderRetention.layer }))
)
