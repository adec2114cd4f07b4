/**
 * A failure as text, for whoever has to mend it: what it says, what it carries, where it came from. All of it is bounded,
 * since it is stored with its job and logged; what is `Redacted`, or named like a secret, stays out.
 */
import { Cause, Redactable, Result } from "effect"
import type { JobFailure } from "./Job.ts"

/** Stored messages and traces are cut to these lengths: an error must not take more space than its job. */
const messageMax = 4_000
const traceMax = 2_000
/** Of one value: texts in it, keys of an object, elements of an array, and how deep they lie. */
const textMax = 500
const keysMax = 20
const elementsMax = 10
const depthMax = 3
/** Of one trace: frames of each error, and errors. */
const framesMax = 5
const causesMax = 4

const secret = /authorization|cookie|credential|passw|passphrase|pwd|secret|token|api[-_]?key|private[-_]?key/iu
const redacted = "<redacted>"

const cut = (text: string, max: number): string => text.length > max ? `${text.slice(0, max - 1)}…` : text

/** A text as it is stored: not long, without NUL, and without the half of an emoji that a cut leaves. */
export const clean = (text: string, max = messageMax): string =>
  text.slice(0, max).toWellFormed().replaceAll("\u0000", "\uFFFD")

/** An error may itself throw while it is looked at. */
const guarded = <A>(look: () => A, otherwise: A): A => Result.getOrElse(Result.try(look), () => otherwise)

const propertyOf = (value: object, key: string): unknown => guarded(() => Reflect.get(value, key), undefined)

/** The own fields of an object, as far as they are shown; those of an error without what its line and its trace say. */
const fieldsOf = (value: object, depth: number): Record<string, unknown> => {
  const said = value instanceof Error ? ["name", "message", "stack", "cause", "_tag"] : []
  const keys = guarded(() => Object.keys(value), []).filter((key) => !said.includes(key))
  const fields: Record<string, unknown> = {}
  for (const key of keys.slice(0, keysMax)) {
    const field = propertyOf(value, key)
    fields[cut(key, textMax)] = secret.test(key) && typeof field !== "number" ? redacted : plain(field, depth + 1)
  }
  if (keys.length > keysMax) fields["…"] = `${keys.length - keysMax} more`
  return fields
}

const hasJson = (value: object): value is { readonly toJSON: () => unknown } =>
  typeof propertyOf(value, "toJSON") === "function"

const plainObject = (value: object, depth: number): unknown => {
  if (Redactable.isRedactable(value)) return plain(Redactable.getRedacted(value), depth + 1)
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) {
    return `${value.constructor.name} of ${value.byteLength} bytes`
  }
  if (value instanceof Map || value instanceof Set) return `${value.constructor.name} of ${value.size}`
  if (value instanceof Error) return cut(lineOf(value, depth + 1), textMax)
  if (depth >= depthMax) return Array.isArray(value) ? `${value.length} elements` : "{…}"
  if (Array.isArray(value)) {
    const shown = value.slice(0, elementsMax).map((element) => plain(element, depth + 1))
    return value.length > elementsMax ? [...shown, `${value.length - elementsMax} more`] : shown
  }
  return hasJson(value) ? plain(value.toJSON(), depth + 1) : fieldsOf(value, depth)
}

/** What JSON can say of a value. */
const plain = (value: unknown, depth: number): unknown => {
  switch (typeof value) {
    case "string":
      return cut(value, textMax)
    case "bigint":
      return String(value)
    case "object":
      return value === null ? null : guarded(() => plainObject(value, depth), "cannot be shown")
    default:
      return value
  }
}

const textOf = (value: unknown): string => typeof value === "string" ? value : ""

/** What an error says of itself, on a line: its name, its message, its own fields as JSON. */
const lineOf = (error: unknown, depth = 0): string =>
  guarded(() => {
    if (typeof error === "string") return error
    if (typeof error !== "object" || error === null || Redactable.isRedactable(error)) {
      return JSON.stringify(plain(error, depth)) ?? String(error)
    }
    if (!(error instanceof Error)) return JSON.stringify(plain(error, depth)) ?? "undefined"
    const fields = depth > depthMax ? {} : fieldsOf(error, depth)
    const parts = [
      error.message === "" ? error.name : `${error.name}: ${error.message}`,
      Object.keys(fields).length === 0 ? "" : JSON.stringify(fields)
    ]
    return parts.filter((part) => part !== "").join(" ")
  }, "an error that cannot be shown")

/** Frames of the runtime, and of what calls handlers, tell nothing about the handler. */
const foreign =
  /node:internal|\/node_modules\/(?:effect|sluice)\/|\/jobs\/(?:JobHandler|worker\/\w+)\.[jt]s|\(<anonymous>\)|\bnative\b/u

const framesOf = (error: unknown): ReadonlyArray<string> => {
  if (!(error instanceof Error)) return []
  const lines = textOf(propertyOf(error, "stack")).split("\n", 100).filter((line) => /^\s+at /u.test(line))
  const own = lines.filter((line) => !foreign.test(line))
  return (own.length > 0 ? own : lines).slice(0, framesMax).map((line) => cut(`  ${line.trim()}`, textMax))
}

/** What an error names as its causes: one, or those of an `AggregateError`. */
const causesOf = (error: unknown): ReadonlyArray<unknown> => {
  if (!(error instanceof Error)) return []
  const { cause, errors } = { cause: propertyOf(error, "cause"), errors: propertyOf(error, "errors") }
  return [...(cause === undefined ? [] : [cause]), ...(Array.isArray(errors) ? errors.slice(0, causesMax) : [])]
}

const traceOf = (error: unknown, beside: ReadonlyArray<unknown>): string => {
  const lines = [...framesOf(error)]
  const seen = new Set<unknown>([error])
  const tell = (label: string, errors: ReadonlyArray<unknown>) => {
    for (const each of errors) {
      if (seen.has(each) || seen.size > causesMax) continue
      seen.add(each)
      const cause = Cause.isCause(each) ? Cause.squash(each) : each
      lines.push(`${label}: ${cut(lineOf(cause), textMax)}`, ...framesOf(cause))
      tell("caused by", causesOf(cause))
    }
  }
  tell("caused by", causesOf(error))
  tell("and", beside)
  return lines.join("\n")
}

/** Why an attempt failed, from the cause of its end: its first failure, or its first defect. */
export const ofCause = (reason: JobFailure["reason"], cause: Cause.Cause<unknown>): JobFailure => {
  const fails = cause.reasons.filter(Cause.isFailReason).map(({ error }) => error)
  const [first, ...beside] = [...fails, ...cause.reasons.filter(Cause.isDieReason).map(({ defect }) => defect)]
  const trace = clean(traceOf(first, beside), traceMax)
  return { reason, message: clean(lineOf(first)), ...(trace === "" ? {} : { trace }) }
}
