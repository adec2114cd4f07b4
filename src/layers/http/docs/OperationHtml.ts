/** One route for people: what it takes, a line to paste, what it answers. */
import { problemTypes } from "../../../services/http/ApiDocument.ts"
import { at, entries, list, text } from "../../../services/http/JsonTree.ts"
import * as Problem from "../../../services/http/Problem.ts"
import * as CurlLine from "./CurlLine.ts"
import { escape, prose } from "./Html.ts"
import { foldedHtml, schemaName, valueHtml } from "./SchemaHtml.ts"

/** A route of the document. */
export interface Operation {
  readonly id: string
  readonly tag: string
  readonly path: string
  readonly verb: string
  readonly summary: string
  /** As the document has it. */
  readonly value: unknown
  /** The types of the problems that it may answer. */
  readonly problems: ReadonlyArray<string>
}

/** All routes of a document, in its order. */
export const operationsOf = (document: unknown): ReadonlyArray<Operation> =>
  entries(at(document, "paths")).flatMap(([path, item]) =>
    entries(item).map(([verb, value]) => ({
      id: text(at(value, "operationId")),
      tag: text(list(at(value, "tags"))[0]),
      path,
      verb,
      summary: text(at(value, "summary")),
      value,
      problems: entries(at(value, "responses")).flatMap(([, response]) => problemTypes(document, response))
    }))
  )

/** The problems that all of these routes may answer. */
export const sharedProblems = (operations: ReadonlyArray<Operation>): ReadonlyArray<string> =>
  (operations[0]?.problems ?? []).filter((type) => operations.every(({ problems }) => problems.includes(type)))

/** A link to a problem's section on the page. */
export const problemLink = (type: string): string => `<a href="#${escape(type)}"><code>${escape(type)}</code></a>`

/** Verb and path, as a heading and in lists. */
export const routeHtml = ({ path, verb }: Operation): string =>
  `<code><span class="verb">${verb.toUpperCase()}</span> ${escape(path)}</code>`

/** Stands for the address that the page was asked at, which only the request tells. */
export const baseMark = "http://sluice.invalid"

const parametersHtml = (parameters: ReadonlyArray<unknown>): string => {
  if (parameters.length === 0) return ""
  const rows = parameters.map((parameter) =>
    `<tr><td><code>${escape(text(at(parameter, "name")))}</code> <span class="muted">${
      escape(text(at(parameter, "in")))
    }${at(parameter, "required") === true ? ", required" : ""}</span><td>${valueHtml(at(parameter, "schema"))}`
  )
  return `<table><tr><th>Parameter<th>Value${rows.join("")}</table>`
}

const bodyHtml = (content: unknown): string =>
  entries(content).map(([type, media]) => {
    const title = `Body: <code>${escape(type)}</code>`
    const schema = at(media, "schema")
    return schemaName(schema) === "" ? foldedHtml(title, schema) : `<p>${title} ${valueHtml(schema)}</p>`
  }).join("")

const exampleHtml = ({ path, value, verb }: Operation, needsToken: boolean): string => {
  const body = at(value, "requestBody", "content", "application/json", "example")
  if (body === undefined) return ""
  const parameters = list(at(value, "parameters")).flatMap((parameter) => {
    const example = text(at(parameter, "example"))
    return example === "" ? [] : [{ name: text(at(parameter, "name")), in: text(at(parameter, "in")), example }]
  })
  return `<pre class="curl">${escape(CurlLine.of(baseMark, { verb, path, parameters, body }, needsToken))}</pre>`
}

const mediaHtml = ([type, media]: readonly [type: string, media: unknown]): string => {
  if (type === "application/json") return valueHtml(at(media, "schema"))
  const data = at(media, "schema", "contentSchema")
  return `<code>${escape(type)}</code>${data === undefined ? "" : ` of ${valueHtml(data)}`}`
}

const titleOf = (type: string): string => escape(Problem.docs.find((problem) => problem.type === type)?.title ?? "")

/** Problems that many routes share are told elsewhere, once; a row is for what is this route's own. */
const answersHtml = ({ value }: Operation, document: unknown, shared: ReadonlySet<string>): string => {
  const rows = entries(at(value, "responses")).flatMap(([status, response]) => {
    const types = problemTypes(document, response)
    const own = types.filter((type) => !shared.has(type))
    if (types.length > 0 && own.length === 0) return []
    if (own.length > 0) {
      return own.map((type) => `<tr><td>${escape(status)}<td>${titleOf(type)}<td>${problemLink(type)}`)
    }
    const body = entries(at(response, "content")).map(mediaHtml).join("<br>")
    return [`<tr><td>${escape(status)}<td>${prose(text(at(response, "description")))}<td>${body}`]
  })
  return `<table class="answers"><tr><th>Status<th>Meaning<th>Body${rows.join("")}</table>`
}

/** What else a route may answer, told where all that may are told. */
const elsewhereHtml = ({ problems, value }: Operation): string => {
  if (problems.length === 0) return ""
  const body = at(value, "requestBody") === undefined ? "" : " and <a href=\"#every-body\">of every body</a>"
  return `<p class="muted">And the problems <a href="#every-route">of every route</a>${body}.</p>`
}

/** A route's section. */
export const operationHtml = (
  operation: Operation,
  { document, needsToken, shared }: {
    readonly document: unknown
    readonly needsToken: boolean
    readonly shared: ReadonlySet<string>
  }
): string =>
  `<section class="item" data-find id="${escape(operation.id)}"><h3>${routeHtml(operation)}</h3><p><strong>${
    escape(operation.summary)
  }.</strong> ${prose(text(at(operation.value, "description")))}</p>${
    parametersHtml(list(at(operation.value, "parameters")))
  }${bodyHtml(at(operation.value, "requestBody", "content"))}${exampleHtml(operation, needsToken)}${
    answersHtml(operation, document, shared)
  }${elsewhereHtml(operation)}</section>`
