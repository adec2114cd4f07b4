/**
 * Where a program's log goes: standard error, because standard output is for results; and how much of it, by `SLUICE_LOG_LEVEL`.
 */
import { Config, Layer, Logger, References, String } from "effect"
import * as Setting from "../../services/tasks/Setting.ts"

const levels = ["all", "trace", "debug", "info", "warn", "error", "fatal", "none"] as const

/** `SLUICE_LOG_LEVEL`. @default "info" */
const config = Setting.oneOf("SLUICE_LOG_LEVEL", levels).pipe(Config.withDefault("info" as const))

/** The log of the command line. */
export const layer: Layer.Layer<never, Config.ConfigError> = Layer.merge(
  Layer.succeed(Logger.LogToStderr, true),
  Layer.effect(References.MinimumLogLevel, Config.map(config, String.capitalize))
)
