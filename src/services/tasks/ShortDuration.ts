/** Durations as people type them, on the command line and in the environment: `250ms`, `10s`, `1.5m`, `2h`, `30d`, and `0`. */
import { type Config, Duration, Schema, SchemaTransformation } from "effect"
import * as Setting from "./Setting.ts"

const units = {
  ms: Duration.millis,
  s: Duration.seconds,
  m: Duration.minutes,
  h: Duration.hours,
  d: Duration.days
} as const

const isUnit = (unit: string | undefined): unit is keyof typeof units => unit !== undefined && unit in units

const form = /^(?:0|(\d+(?:\.\d+)?)(ms|s|m|h|d))$/

/** From the text; `undefined` for anything else. */
export const parse = (text: string): Duration.Duration | undefined => {
  if (!form.test(text)) return undefined
  const [, amount, unit] = form.exec(text) ?? []
  return isUnit(unit) ? units[unit](Number(amount)) : Duration.zero
}

/** As text, in the largest unit of which it is a whole number. */
const format = (duration: Duration.Duration): string => {
  const millis = Duration.toMillis(duration)
  const unit = (["d", "h", "m", "s"] as const).find((one) =>
    millis > 0 && millis % Duration.toMillis(units[one](1)) === 0
  )
  return unit === undefined ? `${millis}ms` : `${millis / Duration.toMillis(units[unit](1))}${unit}`
}

const expected = "a duration like 250ms, 10s or 2m"

const Text = Schema.String.check(Schema.isPattern(form, { expected }))

/** The same as a schema. */
export const ShortDuration = Text.pipe(Schema.decodeTo(
  Schema.Duration,
  SchemaTransformation.transform({
    decode: (text) => parse(text) ?? Duration.zero,
    encode: format
  })
))

/** A variable of the environment in this form. */
export const config = (name: string): Config.Config<Duration.Duration> => Setting.read(name, expected, parse)
