/** Columns for people. */
import { assert, it } from "@effect/vitest"
import * as Table from "../../../src/programs/terminal/Table.ts"

it("columns are as wide as their widest cell; numbers keep to the right, and no line ends in spaces", () => {
  assert.deepStrictEqual(
    Table.lines([Table.left("queue"), Table.right("ready"), Table.left("why")], [
      ["orders.settle", "7", ""],
      ["fetch", "123,456", "paused"]
    ]),
    [
      "queue            ready  why",
      "orders.settle        7",
      "fetch          123,456  paused"
    ]
  )
})

it("a table of nothing is its head, and pairs have none", () => {
  assert.deepStrictEqual(Table.lines([Table.left("id"), Table.right("tries")], []), ["id  tries"])
  assert.deepStrictEqual(Table.pairs([["id", "1"], ["payload", "{}"]]), ["id       1", "payload  {}"])
  assert.deepStrictEqual(Table.pairs([]), [])
})

it("very many rows are a table too", () => {
  const rows = Array.from({ length: 200_000 }, (_, index) => [String(index)])
  assert.lengthOf(Table.lines([Table.right("n")], rows), 200_001)
})
