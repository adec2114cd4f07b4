/**
 * A server behind a proxy may be reached below a prefix, as `https://example.com/shop`. It understands addresses with the prefix and
 * without it, whether or not the proxy takes it off, and answers with it.
 */
import { Effect } from "effect"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"

/** The path of a public URL, without a slash at its end: `/shop`; empty when it has none. */
export const prefixOf = (publicUrl: string | undefined): string =>
  publicUrl === undefined ? "" : new URL(publicUrl).pathname.replace(/\/+$/, "")

/** The target of a request without the prefix. */
const withoutPrefix = (prefix: string, target: string): string => {
  if (!target.startsWith(prefix)) return target
  const rest = target.slice(prefix.length)
  if (rest === "" || rest.startsWith("?")) return `/${rest}`
  return rest.startsWith("/") ? rest : target
}

/** An answer whose addresses of this server have the prefix: `Location`, and the next page's `Link`. */
const withPrefix = (
  prefix: string,
  response: HttpServerResponse.HttpServerResponse
): HttpServerResponse.HttpServerResponse => {
  const { link, location } = response.headers
  return HttpServerResponse.setHeaders(response, {
    ...(location?.startsWith("/v1/") === true ? { location: prefix + location } : {}),
    ...(link?.startsWith("</v1/") === true ? { link: `<${prefix}${link.slice(1)}` } : {})
  })
}

/** Puts a middleware below the prefix of the public URL: it sees requests without it, and its answers get it. */
export const below = <A, E, R>(
  publicUrl: string | undefined,
  middleware: (router: A) => Effect.Effect<HttpServerResponse.HttpServerResponse, E, R | HttpServerRequest>
): typeof middleware => {
  const prefix = prefixOf(publicUrl)
  if (prefix === "") return middleware
  return (router) =>
    Effect.flatMap(HttpServerRequest, (request) =>
      Effect.provideService(
        middleware(router),
        HttpServerRequest,
        request.modify({ url: withoutPrefix(prefix, request.url) })
      )).pipe(Effect.map((response) => withPrefix(prefix, response)))
}
