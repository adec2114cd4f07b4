/**
 * A request as a line of NDJSON has it: the fields of a request, and others that only go along.
 */
import { Result, Schema } from "effect"
import { type FetchRequest, Method } from "../../services/fetch/FetchRequest.ts"

/** A request, and what else its line had. */
export interface RequestLine {
  readonly request: FetchRequest
  readonly fields: Schema.JsonObject
}

const example =
  "write it as {\"url\": \"https://host/path\"}, with \"method\", \"headers\" and \"body\" or \"json\" if you like"

const decodeJson = Schema.decodeUnknownResult(Schema.fromJsonString(Schema.Json))

const isObject = (json: Schema.Json): json is Schema.JsonObject =>
  typeof json === "object" && json !== null && !Array.isArray(json)

const isMethod = Schema.is(Method)
const isHeaders = Schema.is(Schema.Record(Schema.String, Schema.String))

const quoted = (json: Schema.Json): string => JSON.stringify(json).slice(0, 40)

/** Reads a line; the failure says what is wrong with it and what would be right. `kept` are names that are no slips of the pen. */
export const parse = (text: string, kept: ReadonlySet<string>): Result.Result<RequestLine, string> => {
  const json = decodeJson(text)
  if (Result.isFailure(json)) return Result.fail(`not JSON; ${example}`)
  if (!isObject(json.success)) return Result.fail(`not a request; ${example}`)
  const line = json.success
  const slip = slipIn(line, kept)
  if (slip !== undefined) return Result.fail(slip)
  const request = requestOf(line)
  if (Result.isFailure(request)) return Result.fail(`${request.failure}; ${example}`)
  const { body: _body, headers: _headers, json: _json, method: _method, url: _url, ...fields } = line
  return Result.succeed({ request: request.success, fields })
}

const requestOf = (line: Schema.JsonObject): Result.Result<FetchRequest, string> => {
  const { body, headers, json, url } = line
  // A method may be written in small letters, as `fetch` has it.
  const method = typeof line["method"] === "string" ? line["method"].toUpperCase() : line["method"]
  if (typeof url !== "string") return Result.fail("has no \"url\", or one that is no text")
  if (method !== undefined && !isMethod(method)) {
    return Result.fail(`method ${quoted(method)} is none of ${Method.literals.join(", ")}`)
  }
  if (headers !== undefined && !isHeaders(headers)) {
    return Result.fail("\"headers\" is not an object of names and texts")
  }
  if (body !== undefined && typeof body !== "string") {
    return Result.fail("\"body\" is no text; for JSON name it \"json\"")
  }
  if (json !== undefined && body !== undefined) return Result.fail("has a \"body\" and a \"json\": one of them is sent")
  const all = json === undefined ? headers : { "content-type": "application/json", ...lowerCased(headers ?? {}) }
  const content = json === undefined ? body : JSON.stringify(json)
  return Result.succeed({
    url,
    ...(method === undefined ? undefined : { method }),
    ...(all === undefined ? undefined : { headers: all }),
    ...(content === undefined ? undefined : { body: content })
  })
}

const lowerCased = (headers: Readonly<Record<string, string>>): Readonly<Record<string, string>> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))

/** Short names are near to too many others: of `url` only the case is looked at. */
const requestFields = ["url", "method", "headers", "body", "json"] as const
const slipLengthMin = 4

/** A field that is one slip away from one that the line does not have. */
const slipIn = (line: Schema.JsonObject, kept: ReadonlySet<string>): string | undefined => {
  const missing = requestFields.filter((field) => !(field in line))
  for (const name of Object.keys(line)) {
    if (kept.has(name) || requestFields.some((field) => field === name)) continue
    const meant = missing.find((field) =>
      name.toLowerCase() === field || field.length >= slipLengthMin && isOneSlip(name.toLowerCase(), field)
    )
    if (meant !== undefined) {
      return `"${name}" is no field of a request; did you mean "${meant}"? (--keep ${name} keeps it as one of your own)`
    }
  }
  return undefined
}

/** Whether two texts differ by one letter that is missing, too much, or another, or by two that are swapped (Damerau, 1964). */
const isOneSlip = (one: string, other: string): boolean => {
  let at = 0
  while (at < one.length && one[at] === other[at]) at++
  const [a, b] = [one.slice(at), other.slice(at)]
  return a.slice(1) === b || a === b.slice(1) || a.slice(1) === b.slice(1) ||
    a[0] === b[1] && a[1] === b[0] && a.slice(2) === b.slice(2)
}
