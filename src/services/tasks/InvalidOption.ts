import { DateTime, Duration, Option, Schema } from "effect"

/**
 * An option that makes no sense: a bug of the program and no state of the world, so it is thrown, which inside of an
 * effect is a defect. It is raised before anything starts.
 */
export class InvalidOption extends Schema.TaggedError<InvalidOption>()("InvalidOption", {
  /** Whose option, and which: "FanOut concurrency". */
  option: Schema.String,
  value: Schema.String,
  /** What would be right. */
  expected: Schema.String
}) {
  override get message(): string {
    return `${this.option} is ${this.value}: it must be ${this.expected}`
  }
}

const refuse = (option: string, value: unknown, expected: string): never => {
  throw new InvalidOption({ option, value: shown(value), expected })
}

const shown = (value: unknown): string => {
  if (typeof value === "string") return `"${value}"`
  if (typeof value !== "object" || value === null || Duration.isDuration(value)) return String(value)
  return Object.entries(value).map(([key, part]) => `${key}: ${String(part)}`).join(", ")
}

/** @internal The number, if it is whole and at least so large. */
export const wholeNumber = (option: string, value: number, least: 0 | 1): number =>
  Number.isSafeInteger(value) && value >= least ? value : refuse(option, value, `a whole number of at least ${least}`)

/** @internal The number, if it is whole and at least so large, or infinite. */
export const limit = (option: string, value: number, least: 0 | 1): number =>
  value === Number.POSITIVE_INFINITY || (Number.isSafeInteger(value) && value >= least)
    ? value
    : refuse(option, value, `a whole number of at least ${least}, or Infinity`)

/** @internal The duration, unless it is none or negative. */
export const duration = (option: string, value: Duration.Input): Duration.Duration => {
  const decoded = decode(option, value)
  return Duration.isNegative(decoded) ? refuse(option, value, durationExpected) : decoded
}

/** @internal The duration, if it is longer than zero. */
export const period = (option: string, value: Duration.Input): Duration.Duration => {
  const decoded = duration(option, value)
  return Duration.isZero(decoded)
    ? refuse(option, value, "a duration longer than zero, such as \"5 seconds\"")
    : decoded
}

/** @internal What is left of a time that may have been used up: then it is zero. */
export const timeLeft = (option: string, value: Duration.Input): Duration.Duration =>
  Duration.max(decode(option, value), Duration.zero)

const decode = (option: string, value: Duration.Input): Duration.Duration => {
  // Effect takes NaN for zero: what comes out of `Number(undefined)` would be a limit of nothing.
  const decoded = hasNaN(value) ? Option.none<Duration.Duration>() : Duration.fromInput(value)
  return Option.getOrElse(decoded, () => refuse(option, value, durationExpected))
}

/** @internal The point in time in milliseconds. */
export const instantMillis = (option: string, value: DateTime.DateTime | number): number => {
  const millis = DateTime.isDateTime(value) ? DateTime.toEpochMillis(value) : value
  return Number.isNaN(millis) || typeof millis !== "number"
    ? refuse(option, value, "a DateTime or milliseconds since 1970")
    : millis
}

const durationExpected = "a duration that is not negative, such as \"5 seconds\" or a number of milliseconds"

const hasNaN = (value: Duration.Input): boolean =>
  typeof value === "object" && value !== null && !Duration.isDuration(value)
    ? Object.values(value).some(Number.isNaN)
    : Number.isNaN(value)
