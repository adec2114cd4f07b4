/**
 * How saved bodies are to be called, as a user writes it: `{host}/{path}{ext}`, `{id}{ext}`, `{input.country}/{line}.html`.
 */
import { Result, Runtime, Schema } from "effect"
import { ExitCode } from "../tasks/ExitCode.ts"
import * as Extension from "./Extension.ts"
import type { FetchTarget } from "./FetchRequest.ts"

/** A template that cannot be used; `expected` says what would be right. */
export class InvalidSaveTemplate extends Schema.TaggedError<InvalidSaveTemplate>()("InvalidSaveTemplate", {
  template: Schema.String,
  expected: Schema.String
}) {
  override get message(): string {
    return `template ${JSON.stringify(this.template)} for names of saved bodies: expected ${this.expected}`
  }
  override get [Runtime.errorExitCode](): number {
    return ExitCode.usage
  }
}

/** What a name is made of. */
export interface Naming {
  readonly target: FetchTarget
  readonly contentType: string | undefined
  /** Hex digits that are the request's own. */
  readonly digest: string
}

const pathOf = ({ path }: FetchTarget): string => path.split("?", 1)[0] ?? ""

/** The path as a file, below: without its extension, and with a name where it ends in a directory. */
const stemOf = (target: FetchTarget): string => {
  const path = pathOf(target).slice(1)
  return path === "" || path.endsWith("/")
    ? `${path}index`
    : path.slice(0, path.length - Extension.writtenIn(path).length)
}

/** A part of a name: one that is nobody's directory but its own. */
const flat = (value: Schema.Json | undefined): string =>
  value === undefined || value === null
    ? ""
    : (typeof value === "string" ? value : JSON.stringify(value)).replaceAll("/", "_")

const fields: Readonly<Record<string, (naming: Naming) => string>> = {
  host: ({ target }) => target.host,
  path: ({ target }) => stemOf(target),
  query: ({ target }) => flat(target.path.slice(pathOf(target).length + 1)),
  ext: ({ contentType, target }) => Extension.of(pathOf(target), contentType),
  method: ({ target }) => target.request.method ?? "GET",
  id: ({ target }) => flat(target.request.label?.id),
  source: ({ target }) => flat(target.request.label?.source),
  line: ({ target }) => flat(target.request.label?.line),
  digest: ({ digest }) => digest
}

const inputField = /^input\.(.+)$/

const fieldOf = (name: string): ((naming: Naming) => string) | undefined => {
  const column = inputField.exec(name)?.[1]
  if (column !== undefined) return ({ target }) => flat(target.request.label?.input?.[column])
  return Object.hasOwn(fields, name) ? fields[name] : undefined
}

/** A template that was checked. */
export interface SaveTemplate {
  readonly text: string
  /** The names that it gives are the request's own: nobody else has the digest. */
  readonly isDistinct: boolean
  /** The name below the directory, as it stands in the template: nothing of it is made safe yet. */
  readonly fill: (naming: Naming) => string
}

/** Longest template, in UTF-16 code units. */
const templateMax = 1000

const placeholder = /\{([^{}]*)\}/g

/** Reads a template. */
export const parse = (text: string): Result.Result<SaveTemplate, InvalidSaveTemplate> => {
  const refuse = (expected: string) => Result.fail(new InvalidSaveTemplate({ template: text.slice(0, 200), expected }))
  if (text.length > templateMax) return refuse(`at most ${templateMax} characters`)
  const names = Array.from(text.matchAll(placeholder), ([, name = ""]) => name)
  const literal = text.replaceAll(placeholder, "x")
  if (/[{}]/.test(literal)) return refuse("a } for each {, and nothing else in such brackets but a field")
  const unknown = names.find((name) => fieldOf(name) === undefined)
  if (unknown !== undefined) {
    return refuse(`{${Object.keys(fields).join("}, {")} or {input.NAME}: {${unknown}} is no field`)
  }
  if (names.length === 0) return refuse("a field, such as {id} or {path}: all bodies would have one name")
  const segments = literal.split("/")
  if (segments.some((segment) => segment === "" || segment === "." || segment === "..")) {
    return refuse("a name below the directory: no / at the beginning or the end, and no empty part, . or ..")
  }
  const fill = (naming: Naming) => text.replaceAll(placeholder, (_, name: string) => fieldOf(name)?.(naming) ?? "")
  return Result.succeed({ text, isDistinct: names.includes("digest"), fill })
}
