/**
 * The request of a target as a client takes it: with the headers that are sent unless it sets them itself.
 */
import { Result } from "effect"
import * as Headers from "effect/http/Headers"
import * as HttpBody from "effect/http/HttpBody"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type { FetchTarget } from "../../../services/fetch/FetchRequest.ts"
import type { Limits } from "./Limits.ts"

/** @param resume what asks for the rest of a body only, and under which condition */
export const make = (
  target: FetchTarget,
  limits: Limits,
  resume: Readonly<Record<string, string>> | undefined
): HttpClientRequest.HttpClientRequest => {
  const { body, headers, method } = target.request
  let all = limits.headers
  // A user and password in the URL are what curl sends them as.
  if (target.url.length !== target.origin.length + target.path.length) {
    all = Headers.setAll(all, basicAuth(target.url))
  }
  if (target.headers !== undefined) all = Headers.setAll(all, target.headers)
  if (headers !== undefined) all = Headers.setAll(all, headers)
  // What is resumed is counted in bytes as they are stored: no coding may be put on it.
  if (resume !== undefined) all = Headers.setAll(all, { ...resume, "accept-encoding": "identity" })
  return HttpClientRequest.makeWith(
    method ?? "GET",
    target.url,
    HttpClientRequest.empty.urlParams,
    HttpClientRequest.empty.hash,
    all,
    body === undefined ? HttpBody.empty : HttpBody.raw(body)
  )
}

/** RFC 7617, from the user information of a URL. */
const basicAuth = (text: string): Record<string, string> => {
  const { password, username } = new URL(text)
  if (username === "" && password === "") return {}
  const plain = `${decode(username)}:${decode(password)}`
  return { authorization: `Basic ${Buffer.from(plain).toString("base64")}` }
}

const decode = (part: string): string => Result.getOrElse(Result.try(() => decodeURIComponent(part)), () => part)
