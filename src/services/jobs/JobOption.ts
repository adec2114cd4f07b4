/** What the options of the jobs wing may be, so that what cannot be stored or meant is refused by name, before anything is done. */
import { Duration, Formatter, Option, Result, Schema } from "effect"
import { JobOptionInvalid, maxDelayMillis } from "./JobError.ts"

/** What a value may be, and how that is said. */
export interface Rule {
  readonly expected: string
  readonly holds: (value: unknown) => boolean
}

/** Names of kinds, queues, crons and workers, in UTF-16 units. */
const nameMax = 200
/** A column of the store (smallint). */
const smallMax = 32_767
/** Postgres indexes these texts, and its index entries end at 2704 bytes. */
const keyMaxBytes = 1_800
const dayMillis = 86_400_000
const rateMin = 0.000_01
const rateMax = 1_000_000_000

const integer = (min: number, max: number): Rule => ({
  expected: `a whole number from ${min} to ${max}`,
  holds: (value) => Number.isInteger(value) && Number(value) >= min && Number(value) <= max
})

/** One of these texts. */
export const literal = (values: ReadonlyArray<string>): Rule => ({
  expected: values.map((value) => `"${value}"`).join(", "),
  holds: (value) => typeof value === "string" && values.includes(value)
})

/** Postgres takes no NUL in text, and UTF-8 has no half of a surrogate pair. */
const isStorable = (value: unknown): value is string =>
  typeof value === "string" && value.isWellFormed() && !value.includes("\u0000")

const bytesOf = (text: string): number =>
  // Only long ones are counted: a UTF-16 unit is three bytes at most.
  text.length * 3 <= keyMaxBytes ? text.length : new TextEncoder().encode(text).length

const millisOf = (value: unknown): number | undefined => {
  if (typeof value === "number" && Number.isNaN(value)) return undefined
  // Its own parser says what is a duration.
  const parsed = Result.try(() => Duration.fromInput(value as Duration.Input))
  return Option.getOrUndefined(Option.map(Option.flatten(Result.getSuccess(parsed)), Duration.toMillis))
}

const duration = (min: number, max: number, expected: string): Rule => ({
  expected,
  holds: (value) => {
    const millis = millisOf(value)
    return millis !== undefined && millis >= min && millis <= max
  }
})

export const name: Rule = {
  expected: `1 to ${nameMax} characters without NUL and without half a surrogate pair`,
  holds: (value) => isStorable(value) && value.length >= 1 && value.length <= nameMax
}

/** What is unique or ordered among jobs. */
export const key: Rule = {
  expected: `a text of at most ${keyMaxBytes} bytes without NUL and without half a surrogate pair`,
  holds: (value) => isStorable(value) && bytesOf(value) <= keyMaxBytes
}

export const priority: Rule = integer(-1000, 1000)
export const maxAttempts: Rule = integer(1, smallMax)
export const keyConcurrency: Rule = integer(1, smallMax)
export const history: Rule = literal(["full", "outcome", "none"])
export const settle: Rule = literal(["first", "last"])
export const pageLimit: Rule = integer(1, 1000)
export const redriveLimit: Rule = integer(1, 100_000)
export const changeLimit: Rule = integer(1, 10_000)
export const whenUnique: Rule = literal(["keep", "replace", "debounce"])
/** Ids of jobs, at most so many. */
export const ids = (most: number, isId: (value: unknown) => boolean): Rule => ({
  expected: `at most ${most} ids of jobs`,
  holds: (value) => Array.isArray(value) && value.length <= most && value.every(isId)
})
/** Handlers, transactions, jobs of a claim or of a transaction. */
export const count: Rule = integer(1, 10_000)
export const historyDays: Rule = integer(1, 36_500)
export const delay: Rule = duration(0, maxDelayMillis, `a duration from zero to 100 years, such as "5 minutes"`)
export const timeout: Rule = duration(
  1,
  Infinity,
  `a duration of at least a millisecond, such as "30 seconds", or "Infinity"`
)
export const lease: Rule = duration(100, dayMillis, `a duration from 100 ms to a day, such as "4 seconds"`)
export const pace: Rule = duration(10, dayMillis, `a duration from 10 ms to a day, such as "1 second"`)
export const grace: Rule = duration(0, dayMillis, `a duration from zero to a day, such as "10 seconds"`)
export const isFunction: Rule = { expected: "a function", holds: (value) => typeof value === "function" }
export const schema: Rule = { expected: "a schema", holds: Schema.isSchema }
export const instant: Rule = {
  expected: "a Date from the year 1 to 9999",
  holds: (value) => value instanceof Date && value.getUTCFullYear() >= 1 && value.getUTCFullYear() <= 9999
}
export const rate: Rule = {
  expected: `a number from ${rateMin} to ${rateMax} per second`,
  holds: (value) => typeof value === "number" && value >= rateMin && value <= rateMax
}

const givenMax = 80

/** A value in an error: short, and itself never a reason to fail. */
export const shown = (value: unknown): string => {
  const text = Result.getOrElse(Result.try(() => Formatter.format(value)), () => `a ${typeof value}`).toWellFormed()
  return text.length <= givenMax ? text : `${text.slice(0, givenMax)}... (${text.length} characters)`
}

/** What is wrong with a value, which may not be left out. */
export const wrong = (where: string, option: string, rule: Rule, value: unknown): JobOptionInvalid | undefined =>
  rule.holds(value)
    ? undefined
    : new JobOptionInvalid({ where, option, given: shown(value), expected: rule.expected })

/** The first of the given options that is not what its rule says; those that were left out, or are undefined, have their defaults. */
export const invalid = <O extends object>(
  where: string,
  options: O | undefined,
  rules: { readonly [K in keyof O]?: Rule }
): JobOptionInvalid | undefined => {
  if (options === undefined) return undefined
  for (const option in rules) {
    const rule = rules[option]
    const value: unknown = options[option]
    const error = rule === undefined || value === undefined ? undefined : wrong(where, option, rule, value)
    if (error !== undefined) return error
  }
  return undefined
}

/** For what stands in the program's own text: throws what is wrong. */
export const assertValid = <O extends object>(
  where: string,
  options: O | undefined,
  rules: { readonly [K in keyof O]?: Rule }
): void => {
  const error = invalid(where, options, rules)
  if (error !== undefined) throw error
}

/** {@link assertValid} for a name, which may not be left out. */
export const assertName = (where: string, value: unknown): void => {
  const error = wrong(where, "name", name, value)
  if (error !== undefined) throw error
}
