/**
 * The addresses of the API: which route a target means, which methods it takes, and whether it is open to everybody. This is the only
 * reading of a target: what is not here, letter by letter, is not served, however else a router might understand it.
 */
import * as OpenApi from "effect/http-api/OpenApi"
import { Api } from "../../services/http/Api.ts"

/** The API's document (OpenAPI 3.1). */
export const document = OpenApi.fromApi(Api)

/** A route of this server. */
export interface Address {
  /** The route with its parameters' names: safe as a metric's label. */
  readonly route: string
  readonly methods: ReadonlyArray<string>
  /** Whether it is answered to everybody; every other address is behind the guard. */
  readonly isOpen: boolean
}

/** Health, metrics and documents. Nothing else is open, and what is added to the document never is. */
const open = ["/", "/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/problems/{name}"]

const verbs = new Set(["get", "post", "put", "patch", "delete"])

const patternOf = (path: string) => new RegExp(`^${path.replaceAll(".", "\\.").replaceAll(/\{\w+\}/g, "[^/]+")}$`)

const addresses: ReadonlyArray<Address & { readonly pattern: RegExp }> = [
  ...Object.entries(document.paths).map(([path, item]) => ({
    path,
    methods: Object.keys(item).filter((key) => verbs.has(key)).map((key) => key.toUpperCase()),
    isOpen: false
  })),
  ...open.map((path) => ({ path, methods: ["GET"], isOpen: true }))
].map(({ isOpen, methods, path }) => ({
  route: path.replaceAll(/\{(\w+)\}/g, ":$1"),
  pattern: patternOf(path),
  methods,
  isOpen
}))

/** The path of a URL, without its query. */
export const pathOf = (url: string): string => {
  const end = url.search(/[?#]/)
  return end === -1 ? url : url.slice(0, end)
}

/** The address that a target spells out; undefined when there is none. */
export const of = (url: string): Address | undefined => {
  const path = pathOf(url)
  return addresses.find((address) => address.pattern.test(path))
}
