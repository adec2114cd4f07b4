/** The document holds what generators of clients and linters ask of one: redocly's recommended rules, as far as they apply, and ours. */
import { assert, it } from "@effect/vitest"
import * as Addresses from "../../../src/layers/http/Addresses.ts"
import * as ApiDocument from "../../../src/services/http/ApiDocument.ts"
import { at, entries, isObject, type JsonObject, list, text } from "../../../src/services/http/JsonTree.ts"

/** As whoever reads it over HTTP has it. */
const publish = (server: ApiDocument.Server): JsonObject =>
  JSON.parse(JSON.stringify(ApiDocument.published({ ...Addresses.document }, server)))

const document = publish({ publicUrl: undefined, hasToken: true })

const operations = entries(document["paths"]).flatMap(([path, item]) =>
  entries(item).map(([verb, value]) => ({ path, name: `${verb} ${path}`, value }))
)

/** Every object of the document, with where it is. */
const nodesOf = (value: unknown, where = "#"): ReadonlyArray<readonly [where: string, node: JsonObject]> => {
  if (Array.isArray(value)) return value.flatMap((inner, index) => nodesOf(inner, `${where}/${index}`))
  if (!isObject(value)) return []
  return [[where, value], ...entries(value).flatMap(([key, inner]) => nodesOf(inner, `${where}/${key}`))]
}

const nodes = nodesOf(document)

/** The places that break a rule. */
const breaking = (isRight: (node: JsonObject, where: string) => boolean): ReadonlyArray<string> =>
  nodes.filter(([where, node]) => !isRight(node, where)).map(([where]) => where)

it("says where the server is, its licence, and what each group is for", () => {
  assert.deepStrictEqual(document["servers"], [{ url: "/" }])
  assert.strictEqual(at(document, "info", "license", "name"), "MIT")
  const tags = list(document["tags"]).map((tag) => text(at(tag, "name")))
  assert.deepStrictEqual(tags, [...new Set(tags)])
  for (const tag of list(document["tags"])) assert.isNotEmpty(text(at(tag, "description")))
  for (const { name, value } of operations) {
    assert.isTrue(list(at(value, "tags")).every((tag) => tags.includes(String(tag))), name)
  }
  assert.includeMembers(operations.map(({ path }) => path), ["/livez", "/readyz", "/metrics"])
})

it("names each operation once, as a function is named, with a summary and a description", () => {
  const ids = operations.map(({ value }) => text(at(value, "operationId")))
  assert.deepStrictEqual(ids.filter((id) => !/^[a-z]+(?:[A-Z][a-z]+)+$/.test(id)), [])
  assert.strictEqual(new Set(ids).size, operations.length)
  for (const { name, value } of operations) {
    assert.isNotEmpty(text(at(value, "summary")), name)
    assert.match(text(at(value, "description")), /\.$/, name)
  }
})

it("says in a sentence what each answer means, and at least one good and, of the API, one bad answer", () => {
  const names = new Set(entries(at(document, "components", "schemas")).map(([name]) => name))
  for (const { name, path, value } of operations) {
    const responses = entries(at(value, "responses"))
    for (const [status, response] of responses) {
      const description = text(at(response, "description"))
      assert.match(description, /^[A-Z].* .*\.$/, `${name} ${status}`)
      assert.isFalse(names.has(description.replace(/\.$/, "")), `${name} ${status}: ${description}`)
    }
    assert.isTrue(responses.some(([status]) => status.startsWith("2")), name)
    assert.isTrue(!path.startsWith("/v1") || responses.some(([status]) => status.startsWith("4")), name)
  }
})

it("describes each parameter of a path, and no other", () => {
  for (const { name, path, value } of operations) {
    const described = list(at(value, "parameters")).filter((parameter) => at(parameter, "in") === "path")
    assert.deepStrictEqual(
      described.map((parameter) => text(at(parameter, "name"))).sort(),
      [...path.matchAll(/\{(\w+)\}/g)].map(([, parameter]) => parameter ?? "").sort(),
      name
    )
    assert.isTrue(described.every((parameter) => at(parameter, "required") === true), name)
  }
})

it("refers to what is there, and has nothing that is not referred to", () => {
  const names = entries(at(document, "components", "schemas")).map(([name]) => name)
  const targets = new Set(nodes.flatMap(([, node]) => text(node["$ref"]).split("#/components/schemas/")[1] ?? []))
  assert.deepStrictEqual([...targets].sort(), names.sort())
  assert.deepStrictEqual(names.filter((name) => !/^[A-Z][A-Za-z]+$/.test(name) || name.endsWith("Encoded")), [])
})

it("counts in integers with their range, and nothing numeric is a text", () => {
  assert.deepStrictEqual(
    breaking(({ maximum, minimum, type }) => type !== "string" || (maximum ?? minimum) === undefined),
    []
  )
  assert.deepStrictEqual(
    breaking(({ format, type }) => type !== "integer" || format === "int32" || format === "int64"),
    []
  )
  // What JavaScript can count to is no range of ours.
  assert.deepStrictEqual(breaking(({ maximum, minimum }) => ![maximum, minimum].includes(9_007_199_254_740_991)), [])
  const limits = nodes.filter(([, node]) => node["name"] === "limit").map(([, node]) => node["schema"])
  assert.isAbove(limits.length, 3)
  for (const schema of limits) {
    assert.deepStrictEqual(schema, { type: "integer", format: "int32", minimum: 1, maximum: 200 })
  }
})

it("gives times, ids and addresses their format, and explains every pattern", () => {
  const properties = nodes.flatMap(([where, node]) =>
    entries(node["properties"]).map(([name, schema]) => ({ name, where: `${where}/${name}`, schema }))
  )
  const formatOf = (schema: unknown) => at(schema, "format") ?? at(list(at(schema, "anyOf"))[0], "format")
  const times = properties.filter(({ name }) => name === "at" || name.endsWith("At"))
  assert.isAbove(times.length, 12)
  for (const { schema, where } of times) assert.strictEqual(formatOf(schema), "date-time", where)
  for (const { name, schema, where } of properties) {
    if (name === "orderId") assert.strictEqual(formatOf(schema), "uuid", where)
  }
  const urls = at(document, "components", "schemas", "FetchRequest", "properties", "urls", "items")
  assert.strictEqual(at(urls, "format"), "uri")
  assert.deepStrictEqual(
    breaking(({ description, pattern }) => typeof pattern !== "string" || text(description) !== ""),
    []
  )
})

it("lets answers grow, and holds requests to what is known", () => {
  const closed = nodes.filter(([, node]) => node["additionalProperties"] === false).map(([where]) => where)
  assert.deepStrictEqual(
    closed.filter((where) => !/\/schemas\/\w+Request\b|\/livez\/|\/readyz\//.test(where)),
    []
  )
  assert.isAbove(closed.length, 5)
})

it("asks for the token where one is set, and only behind it", () => {
  for (const { name, path, value } of operations) {
    const expected = path.startsWith("/v1") ? [{ bearer: [] }] : []
    assert.deepStrictEqual(at(value, "security"), expected, name)
  }
  assert.strictEqual(at(document, "components", "securitySchemes", "bearer", "scheme"), "Bearer")
  const open = publish({ publicUrl: "https://example.com/shop", hasToken: false })
  assert.deepStrictEqual(open["servers"], [{ url: "https://example.com/shop" }])
  assert.isUndefined(at(open, "components", "securitySchemes"))
  assert.isFalse(nodesOf(open).some(([, node]) => list(node["security"]).length > 0))
})
