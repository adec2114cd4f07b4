/**
 * Where a program's log goes: standard error, because standard output is for results; and how much of it, by `SLUICE_LOG_LEVEL`.
 */
import { Config, Layer, Logger, References, Schema, String } from "effect"

const level = Schema.Literals(["all", "trace", "debug", "info", "warn", "error", "fatal", "none"])

/** `SLUICE_LOG_LEVEL`. @default "info" */
const config = Config.schema(level, "SLUICE_LOG_LEVEL").pipe(Config.withDefault("info" as const))

/** The log of the command line. */
export const layer: Layer.Layer<never, Config.ConfigError> = Layer.merge(
  Layer.succeed(Logger.LogToStderr, true),
  Layer.effect(References.MinimumLogLevel, Config.map(config, String.capitalize))
)
