/**
 * `/openapi.json`, `/docs` and the pages of the problem types: plain HTML made from the API's document, with nothing to load from
 * elsewhere.
 */
import { Effect, type Layer } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { ApiSettings } from "../../services/http/ApiSettings.ts"
import { at, entries, list, text } from "../../services/http/JsonTree.ts"
import * as Problem from "../../services/http/Problem.ts"
import * as Addresses from "./Addresses.ts"
import * as Bodies from "./Bodies.ts"
import * as CurlLine from "./CurlLine.ts"

const escape = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("\"", "&quot;")

const style =
  `:root{color-scheme:light dark;--line:color-mix(in srgb,currentColor 18%,transparent);--soft:color-mix(in srgb,currentColor 5%,transparent)}
*{box-sizing:border-box}body{font:16px/1.55 system-ui,sans-serif;max-width:62rem;margin:0 auto;padding:1.5rem;overflow-wrap:break-word}
h1,h2,h3{line-height:1.25}h2{margin:1.5rem 0 .5rem;font-size:1.25rem}h2 code{font-size:1rem}
code,pre{font:0.875em/1.5 ui-monospace,monospace}code{overflow-wrap:anywhere}
pre{overflow:auto;max-height:36rem;margin:.5rem 0;padding:.75rem;border:1px solid var(--line);border-radius:6px;background:var(--soft);tab-size:2;scroll-margin-top:4rem}
section{border-top:1px solid var(--line);padding:.5rem 0 1rem;scroll-margin-top:.5rem}a{color:inherit}
.verb{font-weight:700;display:inline-block;min-width:3rem}.muted{opacity:.7}
table{border-collapse:collapse;width:100%;margin:.75rem 0}
td,th{text-align:left;vertical-align:top;padding:.3rem .75rem .3rem 0;border-bottom:1px solid var(--line)}
td:first-child,th:first-child{width:14rem}.answers td:first-child,.answers th:first-child{width:4rem}.answers td:last-child,.answers th:last-child{width:23rem}th{font-weight:600}td p{margin:0}
.curl{white-space:pre-wrap;overflow-wrap:anywhere}details{margin:.5rem 0}summary{cursor:pointer;padding:.15rem 0}
nav ul{padding:0;margin:1rem 0 2rem}nav li{list-style:none;display:flex;gap:.75rem;padding:.1rem 0}nav .verb{flex:none}nav a{flex:0 1 19rem;text-decoration:none}nav a:hover{text-decoration:underline}nav span.muted{flex:1}
@media(max-width:40rem){body{padding:1rem}nav li{flex-wrap:wrap;gap:0 .5rem;padding:.35rem 0}nav a{flex:1}nav span.muted{flex-basis:100%}
table,tbody,tr,td{display:block;width:100%}td:first-child,.answers td{width:100%}.answers td:first-child{width:auto}.answers tr{display:flex;flex-wrap:wrap;gap:0 .75rem}.answers td:nth-child(2){flex:1}.answers td:last-child{width:100%}th{display:none}tr{border-bottom:1px solid var(--line);padding:.4rem 0}td{border:0;padding:.05rem 0}td:empty{display:none}pre{max-height:24rem;padding:.5rem}}`

const html = (title: string, body: string): string =>
  `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">` +
  `<title>${escape(title)}</title><style>${style}</style><body>${body}</body></html>`

const page = (text: string): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.text(text, {
    contentType: "text/html; charset=utf-8",
    headers: {
      "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    }
  })

const hostForm = /^([a-z0-9.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?$/i

/** Where the page was asked for, for its examples; behind a proxy as the proxy says. */
const baseOf = (request: HttpServerRequest): string => {
  const host = request.headers["host"] ?? ""
  const scheme = request.headers["x-forwarded-proto"] === "https" ? "https" : "http"
  return hostForm.test(host) ? `${scheme}://${host}` : "http://127.0.0.1:3000"
}

/** Text in which back quotes mark code. */
const prose = (value: string): string => escape(value).replaceAll(/`([^`]+)`/g, "<code>$1</code>")

const components = at(Addresses.document, "components", "schemas")

const schemaName = (schema: unknown): string => text(at(schema, "$ref")).replace(/^.*\//, "")

/** How a schema's name is shown: what is encoded is what is on the wire. */
const shown = (name: string): string => name.replace(/^sluice_/, "").replace(/Encoded$/, "")

const linkTo = (name: string): string => `<a href="#schema-${escape(name)}"><code>${escape(shown(name))}</code></a>`

/** A schema as JSON on many lines, its references as links. */
const prettyHtml = (schema: unknown, id: string): string => {
  const json = escape(JSON.stringify(schema, null, 2)).replaceAll(
    /&quot;#\/components\/schemas\/(\w+)&quot;/g,
    (_, name: string) => linkTo(name)
  )
  return `<pre${id === "" ? "" : ` id="${escape(id)}"`}>${json}</pre>`
}

/** More lines than these are folded away. */
const longLines = 12

const foldedHtml = (title: string, schema: unknown): string => {
  const lines = JSON.stringify(schema, null, 2).split("\n").length
  return `<details${lines <= longLines ? " open" : ""}><summary>${title}</summary>${prettyHtml(schema, "")}</details>`
}

const limits: Readonly<Record<string, string>> = {
  minLength: "at least # characters",
  maxLength: "at most # characters",
  minimum: "at least #",
  maximum: "at most #",
  pattern: "like #"
}

/** A small schema in words; a larger one as folded JSON. */
const valueHtml = (schema: unknown): string => {
  const type = text(at(schema, "type"))
  if (schemaName(schema) !== "") return linkTo(schemaName(schema))
  if (type === "" || type === "object" || type === "array") {
    return schema === undefined
      ? ""
      : foldedHtml("schema", schema)
  }
  const allowed = list(at(schema, "enum"))
  const rules = Object.entries(limits).flatMap(([rule, words]) => {
    const limit = at(schema, rule)
    return limit === undefined ? [] : [words.replace("#", () => `<code>${escape(JSON.stringify(limit))}</code>`)]
  })
  const what = allowed.length === 0
    ? escape(type)
    : `one of ${allowed.map((value) => `<code>${escape(String(value))}</code>`).join(", ")}`
  const about = text(at(schema, "description"))
  return `${[what, ...rules].join(", ")}${about === "" ? "" : `<p class="muted">${prose(about)}</p>`}`
}

/** The schemas of a body: of each of its kinds, or the one that there is. */
const alternatives = (media: unknown): ReadonlyArray<unknown> => {
  const any = at(media, "schema", "anyOf")
  return Array.isArray(any) && any.every((schema) => schemaName(schema) !== "") ? any : [at(media, "schema")]
}

/** A problem is told by its type, whose meaning is on this page; anything else by its schema. */
const answerHtml = (schema: unknown): string => {
  const type = list(at(components, schemaName(schema), "properties", "type", "enum"))[0]
  return typeof type === "string" && type.startsWith("/problems/")
    ? `<a href="#${escape(type)}"><code>${escape(type)}</code></a>`
    : valueHtml(schema)
}

const contentHtml = (content: unknown): string =>
  entries(content).map(([type, media]) => {
    const label = type === "application/json" || type === "application/problem+json" ? "" : `${escape(type)} `
    return `${label}${[...new Set(alternatives(media).map(answerHtml))].join("<br>")}`
  }).join("<br>")

const parametersHtml = (parameters: ReadonlyArray<unknown>): string =>
  parameters.length === 0 ?
    "" :
    `<table><tr><th>Parameter<th>Value${
      parameters.map((parameter) =>
        `<tr><td><code>${escape(text(at(parameter, "name")))}</code> <span class="muted">${
          escape(text(at(parameter, "in")))
        }${at(parameter, "required") === true ? ", required" : ""}</span><td>${valueHtml(at(parameter, "schema"))}`
      ).join("")
    }</table>`

const bodyHtml = (content: unknown): string =>
  entries(content).map(([type, media]) => {
    const title = `Body: <code>${escape(type)}</code>`
    const name = schemaName(at(media, "schema"))
    return name === "" ? foldedHtml(title, at(media, "schema")) : `<p>${title} ${linkTo(name)}</p>`
  }).join("")

/** Stands for the address that the page was asked at, which only the request tells. */
const baseMark = "http://sluice.invalid"

const exampleHtml = (path: string, verb: string, operation: unknown, needsToken: boolean): string => {
  const body = at(operation, "requestBody", "content", "application/json", "example")
  if (body === undefined) return ""
  const parameters = list(at(operation, "parameters")).flatMap((parameter) => {
    const example = text(at(parameter, "example"))
    return example === "" ? [] : [{ name: text(at(parameter, "name")), in: text(at(parameter, "in")), example }]
  })
  return `<pre class="curl">${escape(CurlLine.of(baseMark, { verb, path, parameters, body }, needsToken))}</pre>`
}

const operationHtml = (path: string, verb: string, operation: unknown, needsToken: boolean): string => {
  const rows = entries(at(operation, "responses")).map(([status, response]) => {
    const meaning = text(at(response, "description")).split(" | ").map(shown).join("; ")
    return `<tr><td>${escape(status)}<td>${escape(meaning)}<td>${contentHtml(at(response, "content"))}`
  })
  return `<section id="${
    escape(text(at(operation, "operationId")))
  }"><h2><code><span class="verb">${verb.toUpperCase()}</span> ${escape(path)}</code></h2><p><strong>${
    escape(text(at(operation, "summary")))
  }.</strong> ${prose(text(at(operation, "description")))}</p>${parametersHtml(list(at(operation, "parameters")))}${
    bodyHtml(at(operation, "requestBody", "content"))
  }${exampleHtml(path, verb, operation, needsToken)}<table class="answers"><tr><th>Status<th>Meaning<th>Body${
    rows.join("")
  }</table></section>`
}

const operations = entries(Addresses.document.paths).flatMap(([path, item]) =>
  entries(item).map(([verb, operation]) => ({ path, verb, operation }))
)

/** The target of a link is inside, so that following the link unfolds it. */
const schemasHtml = (): string =>
  entries(components).toSorted(([a], [b]) => shown(a) < shown(b) ? -1 : 1)
    .map(([name, schema]) =>
      `<details><summary><code>${escape(shown(name))}</code></summary>${prettyHtml(schema, `schema-${name}`)}</details>`
    ).join("")

const problemHtml = (problem: Problem.ProblemDoc): string =>
  `<section id="${escape(problem.type)}"><h3>${escape(problem.title)}</h3><p><code>${problem.status} ${
    escape(problem.type)
  }</code></p><p>${prose(problem.what)}</p></section>`

const docs = (needsToken: boolean): string =>
  html(
    "Sluice API",
    `<h1>Sluice API</h1><p>${escape(text(at(Addresses.document, "info", "description")))}</p>` +
      `<p>The same for machines: <a href="/openapi.json">/openapi.json</a> (OpenAPI ${
        escape(Addresses.document.openapi)
      }). Answers are <code>application/json</code>, errors <code>application/problem+json</code>.</p>` +
      `<nav><ul>${
        operations.map(({ operation, path, verb }) =>
          `<li><code class="verb">${verb.toUpperCase()}</code><a href="#${
            escape(text(at(operation, "operationId")))
          }"><code>${escape(path)}</code></a><span class="muted">${escape(text(at(operation, "summary")))}</span>`
        ).join("")
      }</ul></nav>${
        operations.map(({ operation, path, verb }) => operationHtml(path, verb, operation, needsToken)).join("")
      }` +
      `<h2 id="problems">Problems</h2>${Problem.docs.map(problemHtml).join("")}<h2>Schemas</h2>${schemasHtml()}`
  )

const problemPage = (name: string): HttpServerResponse.HttpServerResponse | undefined => {
  const problem = Problem.docs.find(({ type }) => type === `/problems/${name}`)
  return problem === undefined
    ? undefined
    : page(html(problem.title, `<p><a href="/docs#problems">Sluice API: problems</a></p>${problemHtml(problem)}`))
}

/** The document and its pages, without a token. */
export const layer: Layer.Layer<never, never, HttpRouter.HttpRouter | ApiSettings> = HttpRouter.use(
  Effect.fnUntraced(function*(router) {
    const openapi = Bodies.json(Addresses.document)
    const { token } = yield* ApiSettings
    const text = docs(token !== undefined)
    yield* router.add("GET", "/openapi.json", openapi)
    yield* router.add(
      "GET",
      "/docs",
      Effect.map(HttpServerRequest, (request) => page(text.replaceAll(baseMark, baseOf(request))))
    )
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
