/**
 * Where a program's log goes: standard error, because standard output is for results; how much of it, by `SLUICE_LOG_LEVEL`; and for whom,
 * by `SLUICE_LOG_FORMAT`: people, or a collector of logs.
 */
import { Clock, Config, Console, Context, Effect, Layer, Logger, References, Stdio, String } from "effect"
import type { Entry } from "../../services/http/AccessLog.ts"
import * as Setting from "../../services/tasks/Setting.ts"
import * as LogLine from "./LogLine.ts"

const levels = ["all", "trace", "debug", "info", "warn", "error", "fatal", "none"] as const

/** `SLUICE_LOG_LEVEL`. @default "info" */
const levelConfig = Setting.oneOf("SLUICE_LOG_LEVEL", levels).pipe(Config.withDefault("info" as const))

const forms = ["human", "json"] as const

type Form = typeof forms[number]

/** `SLUICE_LOG_FORMAT`. @default "human" */
const formConfig = Setting.oneOf("SLUICE_LOG_FORMAT", forms).pipe(Config.withDefault("human" as const))

/** For whom the log is written. */
export const Format: Context.Reference<Form> = Context.Reference("sluice/programs/process/Logging/Format", {
  defaultValue: (): Form => "human"
})

/** At a terminal the time will do; what is kept needs its date. */
const human = (isAtTerminal: boolean) =>
  Logger.consolePrettyTty({ colors: isAtTerminal, ...(!isAtTerminal && { formatDate: (date) => date.toISOString() }) })

const logger = Effect.gen(function*() {
  const form = yield* formConfig
  const stdio = yield* Stdio.Stdio
  const isAtTerminal = yield* stdio.stderrIsTerminal
  const writer = form === "json" ? Logger.withConsoleError(LogLine.json) : human(isAtTerminal)
  return Layer.merge(Logger.layer([writer]), Layer.succeed(Format, form))
})

/** The log of the command line. */
export const layer: Layer.Layer<never, Config.ConfigError, Stdio.Stdio> = Layer.mergeAll(
  Layer.succeed(Logger.LogToStderr, true),
  Layer.effect(References.MinimumLogLevel, Config.map(levelConfig, String.capitalize)),
  Layer.unwrap(logger)
)

/** What the process says by itself, as on its way out, when no layer is there any more. */
export const line = (text: string): string =>
  process.env["SLUICE_LOG_FORMAT"] === "json"
    ? LogLine.lineOf(LogLine.record({ date: new Date(), level: "error", message: text }))
    : text

/**
 * Says what a program has just become, whatever the log's level: to people line by line, to a collector the first line with these fields.
 */
export const announce = (
  lines: readonly [string, ...ReadonlyArray<string>],
  fields: Readonly<Record<string, unknown>>
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const date = new Date(yield* Clock.currentTimeMillis)
    const [message] = lines
    yield* Console.error(
      (yield* Format) === "json"
        ? LogLine.lineOf(LogLine.record({ date, level: "info", message, fields }))
        : lines.join("\n")
    )
  })

const accessText = ({ bytes, method, millis, path, requestId, status }: Entry): string =>
  `${method} ${path} ${status} ${millis} ms ${bytes ?? "-"} B ${requestId}`

/** Writes a line for each request that was answered: on standard error, whatever the log's level. */
export const access: Effect.Effect<(entry: Entry) => void> = Effect.map(Format, (format) => {
  return (entry: Entry): void => {
    const date = new Date(entry.answeredAt)
    const { answeredAt: _, ...fields } = entry
    const line = format === "json"
      ? LogLine.lineOf(LogLine.record({ date, level: "info", message: "request", fields }))
      : `[${date.toISOString()}] ${accessText(entry)}`
    process.stderr.write(`${line}\n`)
  }
})
