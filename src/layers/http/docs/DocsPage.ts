/**
 * `/`, `/openapi.json`, `/docs` and the pages of the problem types: made from the API's document, with nothing to load from elsewhere.
 * Links between them are relative, so that they hold below any prefix.
 */
import { Effect, type Layer } from "effect"
import * as HttpRouter from "effect/http/HttpRouter"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as ApiDocument from "../../../services/http/ApiDocument.ts"
import { ApiSettings } from "../../../services/http/ApiSettings.ts"
import { at, entries, list, text } from "../../../services/http/JsonTree.ts"
import * as Problem from "../../../services/http/Problem.ts"
import * as Addresses from "../Addresses.ts"
import * as Bodies from "../Bodies.ts"
import { prefixOf } from "../PublicUrl.ts"
import { escape, html, page, prose } from "./Html.ts"
import {
  baseMark,
  type Operation,
  operationHtml,
  operationsOf,
  problemLink,
  routeHtml,
  sharedProblems
} from "./OperationHtml.ts"
import { componentsHtml } from "./SchemaHtml.ts"

const hostForm = /^([a-z0-9.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?$/i

/** Where the page was asked for, for its examples; behind a proxy as the proxy says. */
const baseOf = ({ headers }: HttpServerRequest): string => {
  const host = headers["x-forwarded-host"] ?? headers["host"] ?? ""
  const scheme = headers["x-forwarded-proto"] === "https" ? "https" : "http"
  return hostForm.test(host) ? `${scheme}://${host}` : "http://127.0.0.1:3000"
}

const title = (tag: string): string => tag.slice(0, 1).toUpperCase() + tag.slice(1)

const docOf = (type: string) => Problem.docs.find((problem) => problem.type === type)

/** What the page is made of. */
interface Contents {
  readonly document: unknown
  readonly needsToken: boolean
  readonly operations: ReadonlyArray<Operation>
  readonly tags: ReadonlyArray<{ readonly name: string; readonly description: string }>
  /** Problems of every route of the API, and those that every route with a body has besides. */
  readonly everywhere: ReadonlyArray<string>
  readonly withBody: ReadonlyArray<string>
}

const contentsOf = (document: unknown, needsToken: boolean): Contents => {
  const operations = operationsOf(document)
  const guarded = operations.filter(({ problems }) => problems.length > 0)
  const everywhere = sharedProblems(guarded)
  const bodies = sharedProblems(guarded.filter(({ value }) => at(value, "requestBody") !== undefined))
  return {
    document,
    needsToken,
    operations,
    tags: list(at(document, "tags")).map((tag) => ({
      name: text(at(tag, "name")),
      description: text(at(tag, "description"))
    })),
    everywhere,
    withBody: bodies.filter((type) => !everywhere.includes(type))
  }
}

const navHtml = ({ operations, tags }: Contents): string => {
  const group = (id: string, name: string, items: string) =>
    `<div data-group><h2><a href="#${id}">${name}</a></h2><ul>${items}</ul></div>`
  const routes = tags.map(({ name }) =>
    group(
      `tag-${escape(name)}`,
      escape(title(name)),
      operations.filter(({ tag }) => tag === name).map(({ id, summary, verb }) =>
        `<li><a href="#${escape(id)}"><span class="verb">${verb.toUpperCase()}</span> ${escape(summary)}</a>`
      ).join("")
    )
  )
  const rest = [["access", "Access"], ["problems", "Problems"], ["schemas", "Schemas"]] as const
  const search =
    `<div class="search"><input type="search" aria-label="Search this page" placeholder="Search (press /)">` +
    `<span id="found" class="muted" role="status"></span></div>`
  return `<nav><a class="top" href="#top">Sluice API</a>${search}<details open><summary>Routes</summary>${
    routes.join("")
  }${rest.map(([id, name]) => `<div><h2><a href="#${id}">${name}</a></h2></div>`).join("")}</details></nav>`
}

const withToken = "Every route under `/v1` takes `Authorization: Bearer` with the server's token (SLUICE_API_TOKEN). " +
  "A browser's WebSocket, which cannot send that header, names it as a subprotocol: `sluice` and `bearer.` with the token in Base64url."

const withoutToken = "This server has no token (SLUICE_API_TOKEN): it answers programs of its own machine, " +
  "which name it localhost, 127.0.0.1 or [::1], and no page of another site or origin."

const forAll =
  "Health, metrics and these pages are open to everybody. Every answer carries `X-Request-Id`, the caller's own or " +
  "one of ours. A request that is to be done once carries an `Idempotency-Key`."

const accessHtml = ({ needsToken }: Contents): string =>
  `<div data-part><h2 id="access">Access</h2><section class="item" data-find id="token"><p>${
    prose(needsToken ? withToken : withoutToken)
  }</p><p>${prose(forAll)}</p></section></div>`

const groupHtml = (contents: Contents, tag: { readonly name: string; readonly description: string }): string => {
  const shared = new Set([...contents.everywhere, ...contents.withBody])
  return `<div data-part><h2 id="tag-${escape(tag.name)}">${escape(title(tag.name))}</h2><p>${
    prose(tag.description)
  }</p>${
    contents.operations.filter((operation) => operation.tag === tag.name)
      .map((operation) => operationHtml(operation, { ...contents, shared })).join("")
  }</div>`
}

const problemHtml = (problem: Problem.ProblemDoc, heading: "h1" | "h3"): string =>
  `<${heading}>${escape(problem.title)}</${heading}><p><code>${problem.status} ${escape(problem.type)}</code></p><p>${
    prose(problem.what)
  }</p>`

const sharedHtml = (id: string, sentence: string, types: ReadonlyArray<string>): string =>
  `<section class="item" id="${id}"><p>${sentence}</p><table class="answers"><tr><th>Status<th>Meaning<th>Body${
    types.flatMap((type) => docOf(type) ?? []).map((problem) =>
      `<tr><td>${problem.status}<td>${escape(problem.title)}<td>${problemLink(problem.type)}`
    ).join("")
  }</table></section>`

const problemsHtml = ({ everywhere, withBody }: Contents): string =>
  `<div data-part><h2 id="problems">Problems</h2><p>Every error is <code>application/problem+json</code> (RFC 9457); its type is a page of this server.</p>${
    sharedHtml("every-route", "Every route under <code>/v1</code> may answer:", everywhere)
  }${sharedHtml("every-body", "Every route with a body may also answer:", withBody)}${
    Problem.docs.map((problem) =>
      `<section class="item" data-find id="${escape(problem.type)}">${problemHtml(problem, "h3")}<p><a href="${
        escape(problem.type.slice(1))
      }">Who answers it</a></p></section>`
    ).join("")
  }</div>`

const docs = (contents: Contents): string =>
  html(
    "Sluice API",
    "docs",
    `${navHtml(contents)}<main><h1>Sluice API</h1><p>${
      prose(text(at(contents.document, "info", "description")))
    }</p><p>The same for machines: <a href="openapi.json">openapi.json</a> (OpenAPI ${
      escape(text(at(contents.document, "openapi")))
    }).</p>${accessHtml(contents)}${contents.tags.map((tag) => groupHtml(contents, tag)).join("")}${
      problemsHtml(contents)
    }<div data-part><h2 id="schemas">Schemas</h2>${
      componentsHtml(at(contents.document, "components", "schemas"))
    }</div></main><a class="up" href="#top">Up</a>`
  )

const answeredByHtml = ({ everywhere, operations }: Contents, type: string): string => {
  if (everywhere.includes(type)) return `<p><a href="../docs#every-route">Every route under <code>/v1</code></a>.</p>`
  const own = operations.filter(({ problems }) => problems.includes(type))
  if (own.length === 0) return "<p>Any address: before a route is looked for.</p>"
  return `<ul>${
    own.map((operation) =>
      `<li><a href="../docs#${escape(operation.id)}">${routeHtml(operation)}</a> ${escape(operation.summary)}`
    ).join("")
  }</ul>`
}

/** The page of a problem: what it means, what it looks like, who answers it. */
const problemPage = (contents: Contents, problem: Problem.ProblemDoc): HttpServerResponse.HttpServerResponse => {
  const { status, type } = problem
  const example = JSON.stringify({ type, title: problem.title, status }, null, 2)
  const headers = entries(problem.headers).map(([name, value]) =>
    `<p><code>${escape(`${name}: ${text(value)}`)}</code></p>`
  )
  return page(html(
    problem.title,
    "page",
    `<main class="page"><p><a href="../docs#problems">Sluice API: problems</a></p>${problemHtml(problem, "h1")}${
      headers.join("")
    }<pre>${escape(example)}</pre><h2>Who answers it</h2>${answeredByHtml(contents, type)}</main>`
  ))
}

/** `/` leads somewhere: people to the pages, programs to what there is. */
const root = (request: HttpServerRequest, prefix: string): HttpServerResponse.HttpServerResponse =>
  (request.headers["accept"] ?? "").includes("text/html")
    ? HttpServerResponse.redirect(`${prefix}/docs`, { status: 303 })
    : Bodies.json({
      name: "Sluice",
      links: Object.fromEntries(
        ["docs", "openapi.json", "livez", "readyz", "metrics"].map((name) => [name, `${prefix}/${name}`])
      )
    })

/** The document and its pages, without a token. */
export const layer: Layer.Layer<never, never, HttpRouter.HttpRouter | ApiSettings> = HttpRouter.use(
  Effect.fnUntraced(function*(router) {
    const { publicUrl, token } = yield* ApiSettings
    const needsToken = token !== undefined
    const document = ApiDocument.published({ ...Addresses.document }, { publicUrl, hasToken: needsToken })
    const contents = contentsOf(document, needsToken)
    const text = docs(contents)
    const ofRequest = <A>(answer: (request: HttpServerRequest) => A) => Effect.map(HttpServerRequest, answer)
    yield* router.add("GET", "/", ofRequest((request) => root(request, prefixOf(publicUrl))))
    yield* router.add("GET", "/openapi.json", Bodies.json(document))
    yield* router.add(
      "GET",
      "/docs",
      ofRequest((request) => page(text.replaceAll(baseMark, publicUrl ?? baseOf(request))))
    )
    yield* router.add(
      "GET",
      "/problems/:name",
      Effect.flatMap(HttpRouter.params, ({ name }) => {
        const problem = docOf(`/problems/${name ?? ""}`)
        return problem === undefined
          ? HttpServerRespondable.toResponse(new Problem.NotFound())
          : Effect.succeed(problemPage(contents, problem))
      })
    )
  })
)
