/** The walks of docs/architecture.md lead through rooms and functions that are there. */
import { assert, describe, it } from "@effect/vitest"
import { existsSync, globSync, readFileSync } from "node:fs"
import { basename, join, resolve } from "node:path"

const root = resolve(import.meta.dirname, "../..")
const page = readFileSync(join(root, "docs/architecture.md"), "utf8")
const walks = (page.split("## Three walks")[1] ?? "").split("## Processes")[0] ?? ""
const drawings = [...walks.matchAll(/```\n(.*?)```/gs)].map((match) => match[1] ?? "").join("\n")

const rooms = new Set(globSync("src/**/*.ts", { cwd: root }).map((path) => basename(path, ".ts")))
const sql = globSync("src/**/*.sql", { cwd: root }).map((path) => readFileSync(join(root, path), "utf8")).join("\n")

/** Rooms that the drawings name. */
const named = new Set(
  [...drawings.matchAll(/(?<![.\w])[A-Z][A-Za-z1]+/g)].map(([name]) => name)
)
/** Functions of the database; `_end` goes with the one before it. */
const functions = new Set(
  Array.from(drawings.matchAll(/sluice\.(\w+)((?:, _\w+)*)/g)).flatMap(([, first = "", rest = ""]) => {
    const further = Array.from(rest.matchAll(/_\w+/g), ([suffix]) => first.replace(/_[a-z]+$/, suffix))
    return further.concat(first)
  })
)

describe("docs/architecture.md", () => {
  it("names rooms that are there", () => {
    assert.isAbove(named.size, 40)
    assert.deepStrictEqual([...named].filter((name) => !rooms.has(name)), [])
  })

  it("names functions of the database that are there", () => {
    assert.isAbove(functions.size, 8)
    assert.deepStrictEqual([...functions].filter((name) => !sql.includes(`function sluice.${name}(`)), [])
  })

  it("links to files that are there", () => {
    const links = [...page.matchAll(/\]\((?!http)([^)#]+)/g)].map((match) => match[1] ?? "")
    assert.isAbove(links.length, 4)
    assert.deepStrictEqual(links.filter((link) => !existsSync(join(root, "docs", link))), [])
  })
})
