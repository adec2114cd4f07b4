/**
 * What a run remembers of how it was begun: the flags that say how it is fetched and where it goes, by their names. Kept as a document with
 * the run (`Frontier.notes`), and the defaults of flags that are not given when it goes on.
 */
import { ByteSize, Result, Schema, SchemaTransformation, Struct } from "effect"
import { Method } from "../../services/fetch/FetchRequest.ts"
import type { RunNotes } from "../../services/fetch/Frontier.ts"
import * as SaveTemplate from "../../services/fetch/SaveTemplate.ts"
import * as StatusRange from "../../services/fetch/StatusRange.ts"
import { ShortDuration } from "../../services/tasks/ShortDuration.ts"
import { UsageError } from "./UsageError.ts"

const units = ["GiB", "MiB", "KiB", "B"] as const

/** As `--max-body` takes it, in the largest unit of which it is a whole number. */
const sizeText = (size: ByteSize.ByteSize): string => {
  const bytes = ByteSize.toBigInt(size)
  const unit = units.find((one) => bytes % ByteSize.toBigInt(ByteSize.fromStringUnsafe(`1 ${one}`)) === 0n) ?? "B"
  return `${bytes / ByteSize.toBigInt(ByteSize.fromStringUnsafe(`1 ${unit}`))}${unit}`
}

const Size = Schema.String.check(Schema.isPattern(/^\d+(B|KiB|MiB|GiB)$/)).pipe(Schema.decodeTo(
  Schema.ByteSize,
  SchemaTransformation.transform({ decode: ByteSize.fromStringUnsafe, encode: sizeText })
))

/** A template of names of saved bodies, as it was written. */
const Template = Schema.declare((value): value is SaveTemplate.SaveTemplate =>
  typeof value === "object" && value !== null && "fill" in value
)

const SavedAs = Schema.String.pipe(Schema.decodeTo(
  Template,
  SchemaTransformation.transform({
    decode: (text) => Result.getOrThrow(SaveTemplate.parse(text)),
    encode: ({ text }) => text
  })
))

/** Names of fields, as `--keep` takes them. */
const Names = Schema.String.pipe(Schema.decodeTo(
  Schema.Array(Schema.String),
  SchemaTransformation.transform({
    decode: (text): ReadonlyArray<string> => text.split(","),
    encode: (names) => names.join(",")
  })
))

/** Statuses, as `--retry-status` takes them. */
const Statuses = Schema.String.check(Schema.isPattern(/^[45](\d\d|xx)(,[45](\d\d|xx))*$/)).pipe(Schema.decodeTo(
  Schema.Array(Schema.Struct({ least: Schema.Int, most: Schema.Int })),
  SchemaTransformation.transform({
    decode: (text): ReadonlyArray<StatusRange.StatusRange> =>
      text.split(",").flatMap((one) => StatusRange.parse(one) ?? []),
    encode: (ranges) => ranges.map(StatusRange.text).join(",")
  })
))

const kept = Schema.OptionFromOptionalKey

/** Flags that are remembered as they were given. Paths are absolute: a run may go on from another directory. */
export const Flags = Schema.Struct({
  save: kept(Schema.String),
  saveAs: kept(SavedAs),
  keep: kept(Names),
  output: kept(Schema.String),
  concurrency: kept(Schema.Int),
  perHost: kept(Schema.Int),
  rate: kept(Schema.Finite),
  perHostRate: kept(Schema.Finite),
  timeout: kept(ShortDuration),
  connectTimeout: kept(ShortDuration),
  headersTimeout: kept(ShortDuration),
  idleTimeout: kept(ShortDuration),
  retries: kept(Schema.Int),
  retryStatus: kept(Statuses),
  backoff: kept(ShortDuration),
  backoffMax: kept(ShortDuration),
  maxBody: kept(Size),
  method: kept(Method),
  userAgent: kept(Schema.String),
  adaptive: kept(Schema.Boolean),
  blockMax: kept(ShortDuration),
  patience: kept(ShortDuration),
  robots: kept(Schema.Boolean),
  denyPrivate: kept(Schema.Boolean),
  /** That it was given. It is a permission: whoever goes on gives it again. */
  allowPrivate: kept(Schema.Boolean)
})

/** Their names. */
export const names = Struct.keys(Flags.fields)

/** The document: the flags, and the names of the headers that were given. Their values are secrets, and not kept. */
const Document = Schema.Struct({
  version: Schema.Literal(1),
  headers: Schema.optionalKey(Schema.Array(Schema.String)),
  ...Flags.fields
})

/** What a run remembers. */
export interface RunOptions {
  /** By name, as they are written down. */
  readonly flags: RunNotes
  /** Lower-case names. */
  readonly headers: ReadonlyArray<string>
}

/** Of a run that remembers nothing: one that came over the API, say. */
export const none: RunOptions = { flags: {}, headers: [] }

const decode = Schema.decodeUnknownResult(Document, { onExcessProperty: "error" })

/** What the notes of a run say. Fails when another version of this program has written them. */
export const read = (name: string, notes: RunNotes): Result.Result<RunOptions, UsageError> => {
  if (Object.keys(notes).length === 0) return Result.succeed(none)
  return Result.match(decode(notes), {
    onFailure: (issue) =>
      Result.fail(
        new UsageError({
          problem: `run ${name} was begun by another version of this program, whose options this one does not know: ` +
            issue.message.replaceAll(/\s+/g, " ")
        })
      ),
    onSuccess: ({ headers = [] }) => {
      const { headers: _headers, version: _version, ...flags } = notes
      return Result.succeed({ flags, headers })
    }
  })
}

/** What to note with a run so that what it remembers becomes something else. Several processes may do so at once: only differences are. */
export const difference = (before: RunOptions, after: RunOptions): RunNotes => {
  const notes: Record<string, Schema.Json> = {}
  for (const name of new Set([...Object.keys(before.flags), ...Object.keys(after.flags)])) {
    if (before.flags[name] !== after.flags[name]) notes[name] = after.flags[name] ?? null
  }
  const isSame = before.headers.length === after.headers.length &&
    after.headers.every((header) => before.headers.includes(header))
  if (!isSame) notes["headers"] = after.headers.length === 0 ? null : after.headers
  return Object.keys(notes).length === 0 ? notes : { version: 1, ...notes }
}

const dashed = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)

/** The flag of a name, as it is typed. */
export const flagOf = (name: string): string => `--${dashed(name)}`

/** The name of a flag, with or without its dashes. */
export const nameOf = (flag: string): string =>
  flag.replace(/^-+/, "").replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())

/** A flag with its value, as words of a command line. */
export const words = (name: string, value: Schema.Json | undefined): ReadonlyArray<string> =>
  value === true
    ? [flagOf(name)]
    : value === false
    ? [`--no-${dashed(name)}`]
    : value === undefined || value === null
    ? []
    : [flagOf(name), typeof value === "string" ? value : JSON.stringify(value)]

/** All of them, in the order of their list. */
export const allWords = (flags: RunNotes): ReadonlyArray<string> => names.flatMap((name) => words(name, flags[name]))
