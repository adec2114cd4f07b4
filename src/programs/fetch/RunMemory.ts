/**
 * Going on with a run as it was begun: flags that are not given are as they were, one that is given wins and is remembered, and what would
 * silently be another run (a header that is missing, bodies that nobody keeps any more) is refused with the line that works.
 */
import { Effect, FileSystem, Option, Path, Schema, Struct } from "effect"
import type { RunNotes } from "../../services/fetch/Frontier.ts"
import { CalledAs } from "../terminal/CalledAs.ts"
import * as ShellLine from "../terminal/ShellLine.ts"
import { headersOf, type Values } from "./Flags.ts"
import * as RunOptions from "./RunOptions.ts"
import { UsageError } from "./UsageError.ts"

/** How a run is to be fetched. */
export interface Recalled {
  /** The flags as they count. */
  readonly values: Values
  /** All that the run is to remember. */
  readonly options: RunOptions.RunOptions
  /** What to note with the run, that it does. */
  readonly notes: RunNotes
  /** For people: what it goes on with, and what is new. */
  readonly lines: ReadonlyArray<string>
}

const encode = Schema.encodeSync(RunOptions.Flags)
const decode = Schema.decodeUnknownSync(RunOptions.Flags)

/** Flags as they were given, with paths that are right from everywhere. */
const givenFlags = Effect.fnUntraced(function*(values: Values) {
  const path = yield* Path.Path
  return encode({
    ...Struct.pick(values, RunOptions.names),
    save: Option.map(values.save, (directory) => path.resolve(directory)),
    output: Option.map(values.output, (file) => file === "-" ? file : path.resolve(file))
  })
})

/** A header whose value has to be given again. */
const headerWords = (headers: ReadonlyArray<string>): ReadonlyArray<string> =>
  headers.flatMap((header) => ["-H", `${header}: ...`])

/** The line that goes on with a run: with what it does not keep, and with what is to be done besides. */
export const lineOf = (
  calledAs: string,
  name: string,
  { flags, headers }: RunOptions.RunOptions,
  more: ReadonlyArray<string> = []
): string =>
  ShellLine.of(
    calledAs,
    "fetch",
    "--run",
    name,
    ...headerWords(headers),
    ...RunOptions.words("allowPrivate", flags["allowPrivate"] === true ? true : undefined),
    ...more
  )

/** The rest of a command line, as far as it is not remembered. */
const restOf = (values: Values, given: RunNotes): ReadonlyArray<string> => [
  ...RunOptions.allWords({ ...given, allowPrivate: null }),
  ...values.forget.flatMap((what) => ["--forget", what]),
  ...(values.retryFailed ? ["--retry-failed"] : []),
  ...(values.again ? ["--again"] : [])
]

/** What of the memory is wanted no more: flags and headers. Fails for what is not remembered. */
const forgotten = Effect.fnUntraced(function*(name: string, before: RunOptions.RunOptions, values: Values) {
  const known = [...RunOptions.names.filter((flag) => before.flags[flag] !== undefined), ...before.headers]
  const wanted = values.forget.map((what) => {
    const header = what.toLowerCase()
    return before.headers.includes(header) ? header : RunOptions.nameOf(what)
  })
  const strange = values.forget.find((_, at) => !known.some((one) => one === wanted[at]))
  if (strange === undefined) return new Set(wanted)
  const list = known.map((one) => before.headers.includes(one) ? one : RunOptions.flagOf(one).slice(2)).join(", ")
  return yield* new UsageError({
    problem: `run ${name} does not remember ${JSON.stringify(strange)}${
      list === "" ? ": it remembers nothing" : `; what it remembers: ${list}`
    }`
  })
})

interface Refusing {
  readonly name: string
  /** What it remembers and is not to forget. */
  readonly before: RunOptions.RunOptions
  readonly values: Values
  readonly given: RunNotes
}

/** Refuses what would silently be another run. */
const refuse = Effect.fnUntraced(function*({ before, given, name, values }: Refusing) {
  const calledAs = yield* CalledAs
  const files = yield* FileSystem.FileSystem
  const line = (...more: ReadonlyArray<string>) => lineOf(calledAs, name, before, [...restOf(values, given), ...more])
  const missing = before.headers.filter((header) => headersOf(values)[header] === undefined)
  if (missing.length > 0) {
    return yield* new UsageError({
      problem: `run ${name} was begun with the ${missing.length === 1 ? "header" : "headers"} ${
        missing.join(", ")
      }, and values are not kept: give ${missing.length === 1 ? "it" : "them"} again, or do without by --forget ${
        missing[0]
      }\n  ${line()}`
    })
  }
  if (before.flags["allowPrivate"] === true && given["allowPrivate"] === undefined) {
    return yield* new UsageError({
      problem:
        `run ${name} was begun with --allow-private, which each invocation has to allow by itself; or do without by ` +
        `--no-allow-private\n  ${line()}`
    })
  }
  const { save } = before.flags
  if (typeof save !== "string" || given["save"] !== undefined) return undefined
  if (yield* Effect.orElseSucceed(files.exists(save), () => false)) return undefined
  return yield* new UsageError({
    problem:
      `run ${name} keeps its bodies below ${save}, which is not here: give the directory, or do without by --forget save\n  ${
        line("--save", save)
      }`
  })
})

/** What has changed, for people. */
const changes = (before: RunNotes, after: RunNotes): ReadonlyArray<string> =>
  RunOptions.names.flatMap((name) => {
    const [was, is] = [RunOptions.words(name, before[name]), RunOptions.words(name, after[name])]
    return before[name] === after[name]
      ? []
      : is.length === 0
      ? [`no longer ${was.join(" ")}`]
      : [`${is.join(" ")}${was.length === 0 ? "" : ` (was ${was.at(-1)})`}`]
  })

const linesOf = (name: string, before: RunNotes, after: RunNotes): ReadonlyArray<string> => {
  const same = Object.fromEntries(Object.entries(after).filter(([key, value]) => before[key] === value))
  const words = RunOptions.allWords(same).map(ShellLine.quote).join(" ")
  const changed = changes(before, after)
  return [
    ...(words === "" ? [] : [`run ${name} goes on as it was begun: ${words}`]),
    ...(changed.length === 0 ? [] : [`run ${name} from now on: ${changed.join(", ")}`])
  ]
}

/**
 * How a run is to be fetched by what it remembers and what is given now.
 *
 * @param before what it remembers; `undefined` of a new run
 */
export const recall = Effect.fnUntraced(function*(
  name: string,
  before: RunOptions.RunOptions | undefined,
  values: Values
): Effect.fn.Return<Recalled, UsageError, FileSystem.FileSystem | Path.Path> {
  const given: RunNotes = yield* givenFlags(values)
  const known = before ?? RunOptions.none
  const without = yield* forgotten(name, known, values)
  const flags = Object.fromEntries(Object.entries(known.flags).filter(([key]) => !without.has(key)))
  const headers = known.headers.filter((header) => !without.has(header))
  yield* refuse({ name, before: { flags, headers }, values, given })
  const options = { flags: { ...flags, ...given }, headers: Object.keys(headersOf(values)) }
  const settled = decode(options.flags)
  return {
    values: {
      ...values,
      ...settled,
      // On standard output by request: this once, wherever the run has its outcomes otherwise.
      output: values.json && given["output"] === undefined ? Option.none() : settled.output
    },
    options,
    notes: RunOptions.difference(known, options),
    lines: before === undefined ? [] : linesOf(name, known.flags, options.flags)
  }
})

/** Fails when another process has meanwhile made a run remember something else: this one would fetch it in its own way. */
export const confirm = (name: string, { options }: Recalled) => (notes: RunNotes): Effect.Effect<void, UsageError> =>
  Effect.flatMap(Effect.fromResult(RunOptions.read(name, notes)), (now) => {
    const isSame = Object.keys(RunOptions.difference(options, now)).length === 0
    const problem = `another process has given run ${name} other flags at this moment: start this one again`
    return isSame ? Effect.void : Effect.fail(new UsageError({ problem }))
  })
