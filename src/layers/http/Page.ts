/** A page of a list and the way to the next one. */
import { Result } from "effect"
import * as Cursor from "../../services/http/Cursor.ts"
import type * as Problem from "../../services/http/Problem.ts"
import * as Bodies from "./Bodies.ts"
import { invalid } from "./ProblemOf.ts"

/** The items under their name; `next` and a `Link` as long as there may be more after that id. */
export const of = (
  url: string,
  name: string,
  items: ReadonlyArray<unknown>,
  lastId: string | undefined
) => {
  const next = lastId === undefined ? undefined : Cursor.encode(lastId)
  return Bodies.json({ [name]: items, ...(next === undefined ? {} : { next }) }, {
    headers: next === undefined ? {} : { link: Bodies.nextLink(url, next) }
  })
}

/** The id of a page's last item, when the page is full: there may be more. */
export const lastOf = <A>(items: ReadonlyArray<A>, limit: number, idOf: (item: A) => string): string | undefined => {
  const last = items.at(-1)
  return last === undefined || items.length < limit ? undefined : idOf(last)
}

/** The id that a page begins after; undefined for the first page. */
export const after = (
  cursor: string | undefined,
  isId: (id: string) => boolean
): Result.Result<string | undefined, Problem.InvalidRequest> => {
  if (cursor === undefined) return Result.succeed(undefined)
  const id = Cursor.decode(cursor, isId)
  if (id !== undefined) return Result.succeed(id)
  return Result.fail(invalid(["query", "cursor"], "Expected a cursor of this list"))
}
