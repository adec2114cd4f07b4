/** `/openapi.json`, `/docs` and the pages of the problem types: plain HTML made from the API's document, with nothing to load from elsewhere. */
import { Effect, type Layer } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Problem from "../../services/http/Problem.ts"
import * as Addresses from "./Addresses.ts"
import * as Bodies from "./Bodies.ts"

const escape = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("\"", "&quot;")

const style = `:root{color-scheme:light dark;--line:color-mix(in srgb,currentColor 18%,transparent)}
body{font:16px/1.55 system-ui,sans-serif;max-width:62rem;margin:0 auto;padding:1.5rem}
code,pre{font:0.875em ui-monospace,monospace}pre{overflow:auto;padding:.75rem;border:1px solid var(--line);border-radius:6px}
section{border-top:1px solid var(--line);padding:.5rem 0 1rem}h2 code{font-size:1rem}.verb{font-weight:700;display:inline-block;min-width:3.5rem}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.3rem .75rem .3rem 0;border-bottom:1px solid var(--line)}
nav li{list-style:none}nav ul{padding:0}a{color:inherit}`

const page = (title: string, body: string): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.text(
    `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">` +
      `<title>${escape(title)}</title><style>${style}</style><body>${body}</body></html>`,
    {
      contentType: "text/html; charset=utf-8",
      headers: {
        "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
      }
    }
  )

type Json = Readonly<Record<string, unknown>>

const isJson = (value: unknown): value is Json => typeof value === "object" && value !== null

const at = (value: unknown, ...path: ReadonlyArray<string>): unknown =>
  path.reduce<unknown>((inner, key) => isJson(inner) ? inner[key] : undefined, value)

const text = (value: unknown): string => typeof value === "string" ? value : ""

const list = (value: unknown): ReadonlyArray<unknown> => Array.isArray(value) ? value : []

const schemaName = (schema: unknown): string => {
  const ref = text(at(schema, "$ref"))
  return ref === "" ? "" : ref.slice(ref.lastIndexOf("/") + 1)
}

/** A schema in one line: its name with a link, or its JSON. */
const schemaHtml = (schema: unknown): string => {
  const name = schemaName(schema)
  if (name !== "") return `<a href="#schema-${escape(name)}"><code>${escape(name)}</code></a>`
  return schema === undefined ? "" : `<code>${escape(JSON.stringify(schema))}</code>`
}

const contentHtml = (content: unknown): string =>
  isJson(content)
    ? Object.entries(content).map(([type, media]) => {
      const any = at(media, "schema", "anyOf")
      const schemas = Array.isArray(any) && any.every((schema) => schemaName(schema) !== "")
        ? any
        : [at(media, "schema")]
      return `${escape(type)} ${schemas.map(schemaHtml).join(", ")}`
    }).join("<br>")
    : ""

const parametersHtml = (parameters: ReadonlyArray<unknown>): string =>
  parameters.length === 0 ?
    "" :
    `<table><tr><th>Parameter<th>In<th>Schema${
      parameters.map((parameter) =>
        `<tr><td><code>${escape(text(at(parameter, "name")))}</code>${
          at(parameter, "required") === true ? " (required)" : ""
        }` +
        `<td>${escape(text(at(parameter, "in")))}<td>${schemaHtml(at(parameter, "schema"))}`
      ).join("")
    }</table>`

const operationHtml = (path: string, verb: string, operation: unknown): string => {
  const responses = at(operation, "responses")
  const rows = isJson(responses)
    ? Object.entries(responses).map(([status, response]) =>
      `<tr><td>${escape(status)}<td>${escape(text(at(response, "description")))}<td>${
        contentHtml(at(response, "content"))
      }`
    )
    : []
  const body = contentHtml(at(operation, "requestBody", "content"))
  return `<section id="${
    escape(text(at(operation, "operationId")))
  }"><h2><code><span class="verb">${verb.toUpperCase()}</span> ${escape(path)}</code></h2><p><strong>${
    escape(text(at(operation, "summary")))
  }.</strong> ${escape(text(at(operation, "description")))}</p>${parametersHtml(list(at(operation, "parameters")))}${
    body === "" ? "" : `<p>Body: ${body}</p>`
  }<table><tr><th>Status<th>Meaning<th>Body${rows.join("")}</table></section>`
}

const operations = Object.entries(Addresses.document.paths).flatMap(([path, item]) =>
  Object.entries(item).map(([verb, operation]) => ({ path, verb, operation: operation as unknown }))
)

const schemasHtml = (): string => {
  const schemas = at(Addresses.document, "components", "schemas")
  return isJson(schemas)
    ? Object.entries(schemas).map(([name, schema]) =>
      `<section id="schema-${escape(name)}"><h3>${escape(name)}</h3><pre>${
        escape(JSON.stringify(schema, null, 2))
      }</pre></section>`
    ).join("")
    : ""
}

const problemHtml = (problem: Problem.ProblemDoc): string =>
  `<section id="${escape(problem.type)}"><h3>${escape(problem.title)}</h3><p><code>${problem.status} ${
    escape(problem.type)
  }</code></p><p>${escape(problem.what)}</p></section>`

const docs = (): HttpServerResponse.HttpServerResponse =>
  page(
    "Sluice API",
    `<h1>Sluice API</h1><p>${escape(text(at(Addresses.document, "info", "description")))}</p>` +
      `<p>The same for machines: <a href="/openapi.json">/openapi.json</a> (OpenAPI ${
        escape(Addresses.document.openapi)
      }).</p>` +
      `<nav><ul>${
        operations.map(({ operation, path, verb }) =>
          `<li><a href="#${
            escape(text(at(operation, "operationId")))
          }"><code><span class="verb">${verb.toUpperCase()}</span> ${escape(path)}</code></a> ${
            escape(text(at(operation, "summary")))
          }`
        ).join("")
      }</ul></nav>${operations.map(({ operation, path, verb }) => operationHtml(path, verb, operation)).join("")}` +
      `<h2 id="problems">Problems</h2>${Problem.docs.map(problemHtml).join("")}<h2>Schemas</h2>${schemasHtml()}`
  )

const problemPage = (name: string): HttpServerResponse.HttpServerResponse | undefined => {
  const problem = Problem.docs.find(({ type }) => type === `/problems/${name}`)
  return problem === undefined
    ? undefined
    : page(problem.title, `<p><a href="/docs#problems">Sluice API: problems</a></p>${problemHtml(problem)}`)
}

/** The document and its pages, without a token. */
export const layer: Layer.Layer<never, never, HttpRouter.HttpRouter> = HttpRouter.use(
  Effect.fnUntraced(function*(router) {
    const openapi = Bodies.json(Addresses.document)
    const html = docs()
    yield* router.add("GET", "/openapi.json", openapi)
    yield* router.add("GET", "/docs", html)
    yield* router.add(
      "GET",
      "/problems/:name",
      Effect.flatMap(HttpRouter.params, ({ name }) => {
        const found = problemPage(name ?? "")
        return found === undefined ? HttpServerRespondable.toResponse(new Problem.NotFound()) : Effect.succeed(found)
      })
    )
  })
)
