/** Durations as people type them, on the command line and in the environment: `250ms`, `10s`, `1.5m`, `2h`, and `0`. */
import { type Config, Duration, Schema, SchemaTransformation } from "effect"
import * as Setting from "./Setting.ts"

const units = { ms: Duration.millis, s: Duration.seconds, m: Duration.minutes, h: Duration.hours } as const

const isUnit = (unit: string | undefined): unit is keyof typeof units => unit !== undefined && unit in units

const form = /^(?:0|(\d+(?:\.\d+)?)(ms|s|m|h))$/

/** From the text; `undefined` for anything else. */
export const parse = (text: string): Duration.Duration | undefined => {
  if (!form.test(text)) return undefined
  const [, amount, unit] = form.exec(text) ?? []
  return isUnit(unit) ? units[unit](Number(amount)) : Duration.zero
}

const expected = "a duration like 250ms, 10s or 2m"

const Text = Schema.String.check(Schema.isPattern(form, { expected }))

/** The same as a schema. */
export const ShortDuration = Text.pipe(Schema.decodeTo(
  Schema.Duration,
  SchemaTransformation.transform({
    decode: (text) => parse(text) ?? Duration.zero,
    encode: (duration) => `${Duration.toMillis(duration)}ms`
  })
))

/** A variable of the environment in this form. */
export const config = (name: string): Config.Config<Duration.Duration> => Setting.read(name, expected, parse)
