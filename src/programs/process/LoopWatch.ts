/** The event loop is watched in every program that runs for long: what holds it up is in the log, with its stack. */
import { Config, Duration, Effect, Layer, Schema } from "effect"
import * as NodeLoopMonitor from "../../layers/tasks/NodeLoopMonitor.ts"
import type { LoopMonitor } from "../../services/tasks/LoopMonitor.ts"
import { ShortDuration } from "../../services/tasks/ShortDuration.ts"

/** The heart beats every quarter of the threshold: a shorter one would keep the process busy with itself. */
const leastMillis = 20

const Threshold = ShortDuration.check(
  Schema.makeFilter(
    (threshold) => Duration.isZero(threshold) || Duration.toMillis(threshold) >= leastMillis,
    { expected: `0, for no watch, or at least ${leastMillis}ms` }
  )
)

/** `SLUICE_LOOP_THRESHOLD`. @default "200ms" */
const threshold = Config.schema(Threshold, "SLUICE_LOOP_THRESHOLD").pipe(Config.withDefault(Duration.millis(200)))

/** Logs every stretch longer than `SLUICE_LOOP_THRESHOLD` in which the loop stood still; `0` for no watch. */
export const layer: Layer.Layer<never, Config.ConfigError> = Layer.unwrap(
  Effect.map(
    threshold,
    (threshold): Layer.Layer<never> | Layer.Layer<LoopMonitor> =>
      Duration.isZero(threshold) ? Layer.empty : NodeLoopMonitor.layer({ threshold })
  )
)
