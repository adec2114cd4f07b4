/** The addresses of the API: which route a URL means, and which methods it takes. */
import * as OpenApi from "effect/http-api/OpenApi"
import { Api } from "../../services/http/Api.ts"

/** The API's document (OpenAPI 3.1). */
export const document = OpenApi.fromApi(Api)

interface Address {
  readonly route: string
  readonly pattern: RegExp
  readonly methods: ReadonlyArray<string>
}

const own = ["/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/problems/{name}"]

const verbs = new Set(["get", "post", "put", "patch", "delete"])

const addresses: ReadonlyArray<Address> = [
  ...Object.entries(document.paths).map(([path, item]) => ({
    path,
    methods: Object.keys(item).filter((key) => verbs.has(key)).map((key) => key.toUpperCase())
  })),
  ...own.map((path) => ({ path, methods: ["GET"] }))
].map(({ methods, path }) => ({
  route: path.replaceAll(/\{(\w+)\}/g, ":$1"),
  pattern: new RegExp(`^${path.replaceAll(".", "\\.").replaceAll(/\{\w+\}/g, "[^/]+")}$`),
  methods
}))

/** The path of a URL, without its query. */
export const pathOf = (url: string): string => {
  const end = url.search(/[?#]/)
  return end === -1 ? url : url.slice(0, end)
}

const addressOf = (url: string): Address | undefined => {
  const path = pathOf(url)
  return addresses.find((address) => address.pattern.test(path))
}

/** The route that a URL means, with its parameters' names: safe as a metric's label. */
export const routeOf = (url: string): string => addressOf(url)?.route ?? "unknown"

/** The methods that an address takes; empty when there is none. */
export const methodsOf = (url: string): ReadonlyArray<string> => addressOf(url)?.methods ?? []
