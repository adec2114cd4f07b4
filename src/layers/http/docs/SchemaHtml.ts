/** Schemas for people: small ones in words, larger ones as JSON whose references are links. */
import { at, entries, list, text } from "../../../services/http/JsonTree.ts"
import { escape, prose } from "./Html.ts"

/** The component that a schema refers to; empty when it stands for itself. */
export const schemaName = (schema: unknown): string => text(at(schema, "$ref")).replace(/^.*\//, "")

const linkTo = (name: string): string => `<a href="#schema-${escape(name)}"><code>${escape(name)}</code></a>`

/** A schema as JSON on many lines, its references as links. */
const prettyHtml = (schema: unknown): string => {
  const json = escape(JSON.stringify(schema, null, 2)).replaceAll(
    /&quot;#\/components\/schemas\/(\w+)&quot;/g,
    (_, name: string) => linkTo(name)
  )
  return `<pre>${json}</pre>`
}

/** More lines than these are folded away. */
const longLines = 12

/** A schema below its title. */
export const foldedHtml = (title: string, schema: unknown): string => {
  const lines = JSON.stringify(schema, null, 2).split("\n").length
  return `<details${lines <= longLines ? " open" : ""}><summary>${title}</summary>${prettyHtml(schema)}</details>`
}

const number = (value: unknown): string => typeof value === "number" ? value.toLocaleString("en") : ""

/** "1 to 200", "at least 0", "at most 9"; empty without either. */
const range = (minimum: unknown, maximum: unknown): string => {
  if (minimum === undefined) return maximum === undefined ? "" : `at most ${number(maximum)}`
  return maximum === undefined ? `at least ${number(minimum)}` : `${number(minimum)} to ${number(maximum)}`
}

const formats: Readonly<Record<string, string>> = {
  uuid: "UUID",
  uri: "absolute URL",
  "date-time": "time, ISO 8601 in UTC"
}

const rulesOf = (schema: unknown): ReadonlyArray<string> => {
  const allowed = list(at(schema, "enum"))
  if (allowed.length > 0) {
    return [`one of ${allowed.map((value) => `<code>${escape(String(value))}</code>`).join(", ")}`]
  }
  const type = text(at(schema, "type"))
  const length = range(at(schema, "minLength"), at(schema, "maxLength"))
  const pattern = text(at(schema, "pattern"))
  return [
    formats[text(at(schema, "format"))] ?? (type === "integer" ? "whole number" : type),
    range(at(schema, "minimum"), at(schema, "maximum")),
    length === "" ? "" : `${length} characters`,
    // Words are better, where there are any.
    pattern === "" || at(schema, "description") !== undefined ? "" : `like <code>${escape(pattern)}</code>`
  ].filter((rule) => rule !== "")
}

/** A small schema in words; a larger one as folded JSON. */
export const valueHtml = (schema: unknown): string => {
  const type = text(at(schema, "type"))
  if (schemaName(schema) !== "") return linkTo(schemaName(schema))
  if (type === "" || type === "object" || type === "array") {
    return schema === undefined ? "" : foldedHtml("schema", schema)
  }
  const about = text(at(schema, "description"))
  return `${rulesOf(schema).join(", ")}${about === "" ? "" : `<p class="muted">${prose(about)}</p>`}`
}

/** All components; the target of a link is inside what it unfolds. */
export const componentsHtml = (components: unknown): string =>
  entries(components).toSorted(([a], [b]) => a < b ? -1 : 1).map(([name, schema]) =>
    `<details data-find><summary><code>${escape(name)}</code></summary>${
      prettyHtml(schema).replace("<pre>", `<pre id="schema-${escape(name)}">`)
    }</details>`
  ).join("")
