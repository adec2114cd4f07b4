/** Variables of the environment. What is said of a wrong one names it, what it holds, the form that is right and an example. */
import { Config, ConfigProvider, Effect, Schema, SchemaIssue } from "effect"

/** The failure of a variable whose text is wrong. */
export const wrong = (name: string, text: string, expected: string): Config.ConfigError => {
  const given = text.trim() === "" ? "is set, and empty" : `is ${JSON.stringify(text.slice(0, 100))}`
  const message = `${name} ${given}: expected ${expected}`
  return new Config.ConfigError(new Schema.SchemaError(new SchemaIssue.InvalidValue({ message })))
}

/**
 * Whether a variable is set, and empty: a secret that went missing, where the variable holds one. Every other empty variable counts as
 * unset, as `Config` has it, which therefore cannot tell.
 */
export const isEmpty = (name: string): Effect.Effect<boolean, Config.ConfigError> =>
  Effect.gen(function*() {
    const { load } = yield* ConfigProvider.ConfigProvider
    const isKeyOf = (path: ReadonlyArray<string>, key: string) =>
      Effect.map(load(path), (node) => node?._tag === "Record" && node.keys.has(key))
    // Variables of the environment are a tree, a branch for each underscore; other providers have them as they are.
    const path = name.split("_")
    const isSet = (yield* isKeyOf([], name)) || (yield* isKeyOf(path.slice(0, -1), path.at(-1) ?? ""))
    return isSet && (yield* load([name])) === undefined && (yield* load(path)) === undefined
  }).pipe(Effect.mapError((error) => new Config.ConfigError(error)))

/** Reads the text of a variable; `expected` says what would be right, with an example. */
export const read = <A>(
  name: string,
  expected: string,
  parse: (text: string) => A | undefined
): Config.Config<A> =>
  Config.mapEffect(Config.String(name), (text) => {
    const value = parse(text)
    return value === undefined ? Effect.fail(wrong(name, text, expected)) : Effect.succeed(value)
  })

/** What a whole number may be. */
export interface Range {
  readonly least: number
  readonly most: number
  readonly example: number
}

const thousands = (value: number): string => String(value).replaceAll(/\B(?=(\d{3})+$)/g, ",")

/** A whole number within bounds. */
export const whole = (name: string, { example, least, most }: Range): Config.Config<number> =>
  read(name, `a whole number from ${thousands(least)} to ${thousands(most)}, such as ${example}`, (text) => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
    return value >= least && value <= most ? value : undefined
  })

const yes = new Set(["true", "yes", "on", "1", "y"])
const no = new Set(["false", "no", "off", "0", "n"])

/** A switch. */
export const toggle = (name: string): Config.Config<boolean> =>
  read(name, "true or false", (text) => yes.has(text) ? true : no.has(text) ? false : undefined)

/** One of some words. */
export const oneOf = <const A extends string>(name: string, words: ReadonlyArray<A>): Config.Config<A> =>
  read(name, `one of ${words.join(", ")}`, (text) => words.find((word) => word === text))
