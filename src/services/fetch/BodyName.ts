/**
 * What a saved body is called: readable, the same for the same request, never outside its directory and never another's. Pure but for
 * the digest, which is given.
 */
import type { FetchTarget } from "./FetchRequest.ts"

/** Bytes of a file name that every common file system takes. */
const nameMaxBytes = 255

const unsafe = /[^A-Za-z0-9._-]+/g
const extension = /\.[A-Za-z0-9]{1,10}$/

/** Letters, digits, `.`, `_` and `-`; no leading dot, nothing that a file system folds or forbids. */
const plain = (text: string, max: number): string =>
  text.replace(unsafe, "_").replace(/^[._]+/, "").slice(0, max).replace(/[._]+$/, "")

/** What makes a request itself: bodies of requests that differ in it get different names. */
export const identity = (target: FetchTarget): string =>
  `${target.request.method ?? "GET"} ${target.url}\n${target.request.body ?? ""}`

/**
 * The relative name, `host/path-digest.ext`. The digest is of `identity`, and alone makes names distinct: the rest is for people.
 *
 * @param digest 32 hex digits
 */
export const of = (target: FetchTarget, digest: string): { readonly directory: string; readonly file: string } => {
  const path = target.path.split("?")[0] ?? ""
  const end = extension.exec(path)?.[0] ?? ""
  const readable = plain(path.slice(0, path.length - end.length), nameMaxBytes - 1 - digest.length - end.length)
  const directory = plain(target.host, 200)
  return {
    directory: directory === "" ? "host" : directory,
    file: `${readable === "" ? "index" : readable}-${digest}${end.toLowerCase()}`
  }
}
