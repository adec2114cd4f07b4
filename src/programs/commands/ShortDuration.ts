/** Durations as people type them: `250ms`, `10s`, `2m`, `1h`, and `0`. */
import { Duration, Schema, SchemaTransformation } from "effect"

const units: Record<string, (amount: number) => Duration.Duration> = {
  ms: Duration.millis,
  s: Duration.seconds,
  m: Duration.minutes,
  h: Duration.hours
}

const form = /^(?:0|(\d+(?:\.\d+)?)(ms|s|m|h))$/

const Text = Schema.String.check(Schema.isPattern(form, { expected: "a duration like 250ms, 10s or 2m" }))

/** From the text to the duration. */
export const ShortDuration = Text.pipe(Schema.decodeTo(
  Schema.Duration,
  SchemaTransformation.transform({
    decode: (text) => {
      const [, amount, unit] = form.exec(text) ?? []
      return amount === undefined || unit === undefined ? Duration.zero : units[unit]?.(Number(amount)) ?? Duration.zero
    },
    encode: (duration) => `${Duration.toMillis(duration)}ms`
  })
))
