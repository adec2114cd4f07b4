/**
 * The API's document as generators of clients and people can use it: integers as integers, times and addresses with their format, names
 * without the marks of the encoder, a sentence for each answer, and health and metrics beside the API's own routes.
 */
import { examples, illustrated } from "./Examples.ts"
import * as HealthDocument from "./HealthDocument.ts"
import { at, entries, isObject, type JsonObject, list, mapValues, text } from "./JsonTree.ts"

/** Changes every object of a tree, the inner ones first. */
const walk = (value: unknown, change: (node: JsonObject) => JsonObject): unknown => {
  if (Array.isArray(value)) return value.map((inner) => walk(inner, change))
  return isObject(value)
    ? change(Object.fromEntries(entries(value).map(([key, inner]) => [key, walk(inner, change)])))
    : value
}

/** The name of a component without what the encoder adds: what is encoded is what is on the wire. */
const shortName = (name: string): string => name.replace(/^sluice_/, "").replace(/Encoded$/, "")

const componentPrefix = "#/components/schemas/"

const renamed = (node: JsonObject): JsonObject => {
  const target = text(node["$ref"])
  return target.startsWith(componentPrefix)
    ? { ...node, $ref: componentPrefix + shortName(target.slice(componentPrefix.length)) }
    : node
}

/** Rules that stand in a list of their own, in the schema that they belong to. */
const flattened = (node: JsonObject): JsonObject => {
  const { allOf, ...rest } = node
  const parts = list(allOf).filter(isObject)
  const isSimple = parts.length > 0 && typeof rest["type"] === "string" &&
    parts.every((part) => Object.keys(part).every((key) => !(key in rest) && key !== "$ref"))
  return isSimple ? Object.assign({}, rest, ...parts) : node
}

const int32 = 2_147_483_647

const bound = (value: unknown): number | undefined =>
  typeof value === "number" && Math.abs(value) < Number.MAX_SAFE_INTEGER ? value : undefined

/** A number in a query is text to the decoder, and a range for text means a whole number: see `Route.wholeFromText`. */
const counted = (node: JsonObject): JsonObject => {
  const { maximum, minimum, ...rest } = node
  if (typeof minimum !== "number" && typeof maximum !== "number") return node
  if (rest["type"] !== "string" && rest["type"] !== "integer") return node
  // What every JavaScript number has is no bound of ours.
  const [least, most] = [bound(minimum), bound(maximum)]
  const isSmall = least !== undefined && most !== undefined && least >= -int32 - 1 && most <= int32
  return {
    ...rest,
    type: "integer",
    format: isSmall ? "int32" : "int64",
    ...(least === undefined ? {} : { minimum: least }),
    ...(most === undefined ? {} : { maximum: most })
  }
}

/** What JSON has no number for is no number of ours either. */
const finite = (node: JsonObject): JsonObject => {
  const kinds = list(node["anyOf"])
  const numbers = kinds.filter((kind) => !list(at(kind, "enum")).some((value) => value === "NaN"))
  return numbers.length === kinds.length ? node : { ...node, anyOf: numbers }
}

const instant = (schema: unknown): unknown =>
  at(schema, "type") === "string" && isObject(schema) ? { ...schema, format: "date-time" } : schema

/** Every time of the API is `at`, or ends in `At`: ISO 8601, in UTC. */
const timed = (node: JsonObject): JsonObject => {
  if (!isObject(node["properties"])) return node
  const properties = Object.fromEntries(
    entries(node["properties"]).map(([name, schema]) => {
      if (name !== "at" && !name.endsWith("At")) return [name, schema]
      return [name, {
        ...mapValues(instant(schema), (inner) => Array.isArray(inner) ? inner.map(instant) : inner) as JsonObject
      }]
    })
  )
  return { ...node, properties }
}

/** A stream of events has no schema that generators know: it is text, and says what the data of its events is. */
const streamed = (node: JsonObject): JsonObject => {
  const stream = node["text/event-stream"]
  if (stream === undefined) return node
  const data = at(stream, "schema", "properties", "data")
  return {
    ...node,
    "text/event-stream": {
      schema: {
        type: "string",
        description: "Server-sent events; the `data` of each is JSON of the schema in `contentSchema`.",
        contentMediaType: "text/event-stream",
        contentSchema: data
      }
    }
  }
}

const schemaOf = (spec: unknown, reference: unknown): unknown =>
  at(spec, "components", "schemas", text(at(reference, "$ref")).slice(componentPrefix.length))

/** The types of the problems in an answer of the document. */
export const problemTypes = (spec: unknown, response: unknown): ReadonlyArray<string> => {
  const schema = at(response, "content", "application/problem+json", "schema")
  return [schema, ...list(at(schema, "anyOf"))].flatMap((inner) => {
    const type = text(list(at(schemaOf(spec, inner), "properties", "type", "enum"))[0])
    return type === "" ? [] : [type]
  })
}

const lowerFirst = (sentence: string): string => sentence.slice(0, 1).toLowerCase() + sentence.slice(1)

/** What an answer means, in a sentence: what its route says of it, or what its problems say of themselves. */
const explained = (spec: unknown, titles: ReadonlyMap<string, string>) => (response: unknown): unknown => {
  const told = problemTypes(spec, response).flatMap((type) => titles.get(type) ?? [])
  if (told.length === 0 || !isObject(response)) return response
  const sentence = [...told.slice(0, 1), ...told.slice(1).map(lowerFirst)].join(", or ")
  return { ...response, description: `${sentence}.` }
}

/** What is answered may grow: a client that refuses fields which it does not know would break then. */
const growing = (value: unknown): unknown =>
  walk(
    value,
    ({ additionalProperties, ...node }) =>
      additionalProperties === false || additionalProperties === undefined ? node : { ...node, additionalProperties }
  )

/** A parameter's description is its own: generators do not look for it in the schema. */
const parameter = (value: unknown): unknown => {
  const description = at(value, "schema", "description")
  return description === undefined || !isObject(value) ? value : { ...value, description }
}

const operation = (spec: unknown, titles: ReadonlyMap<string, string>) => (value: unknown): unknown => {
  if (!isObject(value)) return value
  const operationId = text(value["operationId"]).replace(/^.*\./, "")
  return illustrated({
    ...value,
    operationId,
    parameters: list(value["parameters"]).map(parameter),
    responses: growing(mapValues(value["responses"], explained(spec, titles)))
  }, examples[operationId])
}

/** The names of the components that a part of the document refers to, by itself or by others. */
const reached = (spec: JsonObject, part: unknown): ReadonlySet<string> => {
  const found = new Set<string>()
  const look = (value: unknown): void => {
    walk(value, (node) => {
      const name = text(node["$ref"]).slice(componentPrefix.length)
      if (name !== "" && !found.has(name)) {
        found.add(name)
        look(at(spec, "components", "schemas", name))
      }
      return node
    })
  }
  look(part)
  return found
}

/** Leaves out the components that nothing refers to; those that are not sent, but answered, may grow. */
const used = (spec: JsonObject): JsonObject => {
  const kept = reached(spec, spec["paths"])
  const operations = entries(spec["paths"]).flatMap(([, item]) => entries(item))
  const sent = reached(spec, operations.map(([, value]) => at(value, "requestBody")))
  const schemas = Object.fromEntries(
    entries(at(spec, "components", "schemas")).filter(([name]) => kept.has(name)).map(([name, schema]) => [
      name,
      sent.has(name) ? schema : growing(schema)
    ])
  )
  return { ...spec, components: { ...Object(spec["components"]), schemas } }
}

/** The document that the API's description generates, made fit for use; `titles` says what each problem means. */
export const tidied = (titles: ReadonlyMap<string, string>) => (generated: JsonObject): JsonObject => {
  const shaped = walk(generated, (node) => timed(finite(counted(flattened(streamed(renamed(node)))))))
  const schemas = Object.fromEntries(
    entries(at(shaped, "components", "schemas")).map(([name, schema]) => [shortName(name), schema])
  )
  const spec = { ...Object(shaped), components: { ...Object(at(shaped, "components")), schemas } }
  return used({ ...spec, paths: mapValues(at(spec, "paths"), (item) => mapValues(item, operation(spec, titles))) })
}

/** What the document says of the server that it is read from. */
export interface Server {
  /** Where it is reached; undefined: where the document was read. */
  readonly publicUrl: string | undefined
  readonly hasToken: boolean
}

const withoutToken = (document: JsonObject): JsonObject => {
  const { securitySchemes: _, ...components } = Object(document["components"])
  const open = (value: unknown): unknown => isObject(value) ? { ...value, security: [] } : value
  return {
    ...document,
    components,
    paths: mapValues(document["paths"], (item) => mapValues(item, open))
  }
}

/** The document as this server gives it out: its address, whether it asks for a token, and what is open to everybody. */
export const published = (document: JsonObject, { hasToken, publicUrl }: Server): JsonObject => {
  const whole = {
    ...document,
    servers: [{ url: publicUrl ?? "/" }],
    tags: [...list(document["tags"]), HealthDocument.tag],
    paths: { ...Object(document["paths"]), ...HealthDocument.paths }
  }
  return hasToken ? whole : withoutToken(whole)
}
