/** What is taken away by itself when it is too old, as the environment says. */
import type { PgClient } from "@effect/sql-pg/PgClient"
import { Config, Duration, Effect, Layer, Option } from "effect"
import * as OrderRetention from "../../layers/orders/OrderRetention.ts"
import * as RetentionRounds from "../../layers/postgres/RetentionRounds.ts"
import type { Frontier } from "../../services/fetch/Frontier.ts"
import * as RunPruning from "../../services/fetch/RunPruning.ts"
import * as Setting from "../../services/tasks/Setting.ts"
import * as ShortDuration from "../../services/tasks/ShortDuration.ts"

/** A caller that has no answer may send its idempotency key again for so long, and a run may be waited for. */
const least = Duration.days(1)

const kept = (name: string) =>
  Config.option(Setting.read(name, "a duration of at least 24h, such as 90d", (text) => {
    const keep = ShortDuration.parse(text)
    return keep !== undefined && Duration.isGreaterThanOrEqualTo(keep, least) ? keep : undefined
  }))

/** `SLUICE_RETAIN_ORDERS`: how long an order is kept after its end. @default for ever */
const orders = kept("SLUICE_RETAIN_ORDERS")

/** `SLUICE_RETAIN_RUNS`: how long a fetch run is kept that nobody adds to or works on. @default for ever */
const runs = kept("SLUICE_RETAIN_RUNS")

const runRetention = (keep: Duration.Duration) =>
  RetentionRounds.layer({ what: "fetch runs", keep, round: RunPruning.prune(keep) })

/** The chores that keep within what was set; none by default. */
export const layer: Layer.Layer<never, Config.ConfigError, PgClient | Frontier> = Layer.unwrap(
  Effect.gen(function*() {
    return Layer.merge(
      Option.match(yield* orders, { onNone: () => Layer.empty, onSome: OrderRetention.layer }),
      Option.match(yield* runs, { onNone: () => Layer.empty, onSome: runRetention })
    )
  })
)
