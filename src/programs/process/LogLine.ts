/** A line of the log as one JSON object: what happened, when, for which request or job, and an error by its fields. Bounded throughout. */
import { Array, Cause, Formatter, Logger, Predicate, References, Result } from "effect"

/** What a line may hold: longer texts are cut, deeper causes and further fields left out. */
const textMax = 8_000
const causesMax = 5
const framesMax = 10
const fieldsMax = 30

type Fields = Record<string, unknown>

const cut = (text: string): string => text.length <= textMax ? text : `${text.slice(0, textMax)}…`

/** Code that is not ours may throw while it is shown. */
const safely = <A>(show: () => A): A | string =>
  Result.getOrElse(Result.try(show), () => "a value that cannot be shown")

const isPlain = (value: unknown): value is string | number | boolean | null =>
  value === null || typeof value === "string" || typeof value === "number" || typeof value === "boolean"

/** A value that is no error: as it is when JSON has it, else as text. */
const valueOf = (value: unknown): unknown =>
  safely(() => {
    if (typeof value === "string") return cut(value)
    if (typeof value === "bigint") return String(value)
    return isPlain(value) ? value : cut(Formatter.format(value))
  })

const framesOf = (stack: string | undefined): ReadonlyArray<string> =>
  (stack ?? "").split("\n").map((line) => line.trim()).filter((line) => line.startsWith("at ")).slice(0, framesMax)

/** An error's own plain fields. Its message and cause have places of their own. */
const ownFields = (error: object): Fields =>
  Object.fromEntries(
    Object.entries(error)
      .filter(([name, value]) => !["_tag", "name", "message", "stack", "cause"].includes(name) && isPlain(value))
      .slice(0, fieldsMax)
      .map(([name, value]) => [name, valueOf(value)])
  )

const nameOf = (error: Error): string =>
  Predicate.hasProperty(error, "_tag") && typeof error._tag === "string" ? error._tag : error.name

/** Only the outermost error shows where it was made. */
const errorOf = (error: unknown, depth = 0): unknown =>
  safely(() => {
    if (Cause.isCause(error)) return causeOf(error, depth)
    if (!(error instanceof Error)) return { message: valueOf(error) }
    const inner = error instanceof AggregateError ? error.errors[0] : error.cause
    return {
      name: nameOf(error),
      message: cut(error.message),
      ...ownFields(error),
      ...(depth === 0 && { stack: framesOf(error.stack) }),
      ...(inner !== undefined && depth < causesMax && { cause: errorOf(inner, depth + 1) })
    }
  })

/** The first failure or defect of a cause. */
const causeOf = (cause: Cause.Cause<unknown>, depth = 0): unknown => {
  const reason = cause.reasons.find((reason) => !Cause.isInterruptReason(reason))
  if (reason === undefined) return { name: "Interrupted", message: "interrupted" }
  if (Cause.isFailReason(reason)) return errorOf(reason.error, depth)
  return Cause.isDieReason(reason) ? errorOf(reason.defect, depth) : undefined
}

const isErrorLike = (part: unknown): boolean => part instanceof Error || Cause.isCause(part)

/** The object of a line; `fields` are what the place that logs it is about: a request's id, a job's. */
export const record = (options: {
  readonly date: Date
  readonly level: string
  readonly message: unknown
  readonly cause?: Cause.Cause<unknown> | undefined
  readonly fields?: Readonly<Record<string, unknown>> | undefined
}): Fields => {
  const parts = Array.ensure(options.message)
  const text = parts.filter((part) => !isErrorLike(part)).map(valueOf).map(String).join(" ")
  const cause = options.cause === undefined || options.cause.reasons.length === 0 ? undefined : options.cause
  const error = parts.find(isErrorLike) ?? cause
  return {
    date: options.date.toISOString(),
    level: options.level.toLowerCase(),
    message: text,
    ...Object.fromEntries(
      Object.entries(options.fields ?? {}).slice(0, fieldsMax).map(([name, value]) => [name, valueOf(value)])
    ),
    ...(error !== undefined && { error: errorOf(error) })
  }
}

/** The line of a record. */
export const lineOf = (fields: Fields): string => JSON.stringify(fields)

/** Writes log entries as lines. */
export const json: Logger.Logger<unknown, string> = Logger.make(({ cause, date, fiber, logLevel, message }) =>
  lineOf(record({ date, level: logLevel, message, cause, fields: fiber.getRef(References.CurrentLogAnnotations) }))
)
