/** A page of a list and the way to the next one. */
import * as Cursor from "../../services/http/Cursor.ts"
import * as Bodies from "./Bodies.ts"

/** The items under their name; `next` and a `Link` as long as the page is full. */
export const of = (
  url: string,
  name: string,
  items: ReadonlyArray<unknown>,
  limit: number,
  lastId: string | undefined
) => {
  const next = items.length < limit || lastId === undefined ? undefined : Cursor.encode(lastId)
  return Bodies.json({ [name]: items, ...(next === undefined ? {} : { next }) }, {
    headers: next === undefined ? {} : { link: Bodies.nextLink(url, next) }
  })
}
