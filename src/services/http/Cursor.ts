/** Keyset cursors: opaque to callers, who take them from a page's `next`. */
import { Result } from "effect"
import * as Base64Url from "effect/encoding/Base64Url"

const version = "1:"

/** The cursor of the page after this id. */
export const encode = (id: string): string => Base64Url.encode(version + id)

/** The id in a cursor; undefined when this server did not make it. */
export const decode = (cursor: string, isId: (id: string) => boolean): string | undefined => {
  const text = Result.getOrUndefined(Base64Url.decodeString(cursor))
  if (text === undefined || !text.startsWith(version)) return undefined
  const id = text.slice(version.length)
  return isId(id) ? id : undefined
}
