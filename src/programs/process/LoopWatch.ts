/** The event loop is watched in every program that runs for long: what holds it up is in the log, with its stack. */
import { Config, Duration, Effect, Layer } from "effect"
import * as NodeLoopMonitor from "../../layers/tasks/NodeLoopMonitor.ts"
import type { LoopMonitor } from "../../services/tasks/LoopMonitor.ts"
import * as Setting from "../../services/tasks/Setting.ts"
import * as ShortDuration from "../../services/tasks/ShortDuration.ts"

/** The heart beats every quarter of the threshold: a shorter one would keep the process busy with itself. */
const leastMillis = 20

const parse = (text: string): Duration.Duration | undefined => {
  const threshold = ShortDuration.parse(text)
  if (threshold === undefined) return undefined
  return Duration.isZero(threshold) || Duration.toMillis(threshold) >= leastMillis ? threshold : undefined
}

/** `SLUICE_LOOP_THRESHOLD`. @default "200ms" */
const threshold = Setting.read(
  "SLUICE_LOOP_THRESHOLD",
  `0, for no watch, or a duration of at least ${leastMillis}ms, such as 200ms`,
  parse
).pipe(Config.withDefault(Duration.millis(200)))

/** Logs every stretch longer than `SLUICE_LOOP_THRESHOLD` in which the loop stood still; `0` for no watch. */
export const layer: Layer.Layer<never, Config.ConfigError> = Layer.unwrap(
  Effect.map(
    threshold,
    (threshold): Layer.Layer<never> | Layer.Layer<LoopMonitor> =>
      Duration.isZero(threshold) ? Layer.empty : NodeLoopMonitor.layer({ threshold })
  )
)
