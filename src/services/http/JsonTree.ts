/** JSON of which nothing is known until it is looked at: the API's own document, as OpenAPI has it. */

/** A JSON object. */
export type JsonObject = Readonly<Record<string, unknown>>

/** Whether a value is an object: no list, and not null. */
export const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** What is at a path of keys; undefined when there is nothing. */
export const at = (value: unknown, ...path: ReadonlyArray<string>): unknown =>
  path.reduce<unknown>((inner, key) => isObject(inner) ? inner[key] : undefined, value)

/** The text that a value is; empty when it is none. */
export const text = (value: unknown): string => typeof value === "string" ? value : ""

/** The list that a value is; empty when it is none. */
export const list = (value: unknown): ReadonlyArray<unknown> => Array.isArray(value) ? value : []

/** The keys and values of an object; empty when it is none. */
export const entries = (value: unknown): ReadonlyArray<readonly [key: string, value: unknown]> =>
  isObject(value) ? Object.entries(value) : []

/** An object with each of its values changed; anything else as it is. */
export const mapValues = (value: unknown, f: (inner: unknown) => unknown): unknown =>
  isObject(value) ? Object.fromEntries(entries(value).map(([key, inner]) => [key, f(inner)])) : value
