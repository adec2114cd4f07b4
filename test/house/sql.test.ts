/**
 * SQL has one home, `layers/postgres/schema`: what stands in TypeScript are short calls, and each table is written in its own lane's files
 * or a few named rooms.
 */
import { assert, describe, it } from "@effect/vitest"
import { globSync, readFileSync } from "node:fs"
import { join, resolve } from "node:path"

const root = resolve(import.meta.dirname, "../..")

const textOf = (file: string): string => readFileSync(join(root, file), "utf8")

const files = (pattern: string): ReadonlyArray<string> =>
  globSync(pattern, { cwd: root }).map((file) => file.replaceAll("\\", "/")).toSorted()

const sources = files("src/**/*.ts")
const schema = files("src/layers/postgres/schema/*/*.sql")

const trackOf = (file: string): string => file.split("/").at(-2) ?? ""

interface Template {
  readonly file: string
  readonly line: number
  /** Tagged, with its parameters in place: not a string that goes to `unsafe`. */
  readonly isTagged: boolean
  readonly lines: number
}

/** The templates of a text that are statements on the schema. */
const templatesOf = (file: string, text: string): ReadonlyArray<Template> =>
  Array.from(
    text.matchAll(/(\S?)`(\s*(?:select|with|insert|update|delete|merge)\b[^`]*\bsluice\.[^`]*)`/g),
    (found) => ({
      file,
      line: text.slice(0, found.index).split("\n").length,
      isTagged: /[\w>)]/.test(found[1] ?? ""),
      lines: (found[2] ?? "").trim().split("\n").length
    })
  )

/** What a tagged template may hold at most; a longer one is a function. */
const linesMax = 12

const isShort = ({ isTagged, lines }: Template): boolean => lines <= (isTagged ? linesMax : 1)

/** Where tables are written besides `layers/postgres/schema`. None but these, and each of these. */
const writers: Readonly<Record<string, ReadonlyArray<string>>> = {
  "src/layers/http/PostgresFetchKeys.ts": ["fetch_key"],
  "src/layers/orders/PostgresCatalog.ts": ["products", "stock_adjustments"],
  "src/layers/orders/PostgresLedger.ts": ["accounts", "transfers"],
  "src/layers/orders/PostgresPlan.ts": ["transfers"],
  "src/layers/jobs/PostgresFleet.ts": ["job_worker"]
}

/** The tables that a text writes. */
const writtenIn = (text: string): ReadonlyArray<string> =>
  Array.from(
    new Set(
      Array.from(text.matchAll(/\b(?:insert\s+into|update|delete\s+from)\s+sluice\.(\w+)/g), (found) => found[1] ?? "")
    )
  ).toSorted()

describe("SQL", () => {
  it("stands in TypeScript as short calls", () => {
    const long = sources.flatMap((file) => templatesOf(file, textOf(file))).filter((template) => !isShort(template))
    assert.deepStrictEqual(long, [])
  })

  it("is written to each table in few places", () => {
    const found = sources.flatMap((file) => {
      const tables = writtenIn(textOf(file))
      return tables.length === 0 ? [] : [[file, tables] as const]
    })
    assert.deepStrictEqual(Object.fromEntries(found), writers)
  })

  it("of one track writes that track's tables only", () => {
    const tables = new Map<string, string>()
    for (const file of schema) {
      for (const [, table] of textOf(file).matchAll(/create (?:unlogged )?table sluice\.(\w+)/g)) {
        if (table !== undefined) tables.set(table, trackOf(file))
      }
    }
    assert.isAbove(tables.size, 15)
    for (const file of schema) {
      for (const table of writtenIn(textOf(file))) {
        assert.strictEqual(tables.get(table), trackOf(file), `${file}: ${table}`)
      }
    }
  })

  it("is seen by this test", () => {
    const text = "sql.unsafe(`select *\n from sluice.job`, [])\nsql<Row>`select *\n from sluice.job`\nsql`select 1`"
    assert.deepStrictEqual(templatesOf("x", text).map(isShort), [false, true])
    assert.deepStrictEqual(writtenIn("sql`delete from sluice.b; update sluice.a set c = 1`; `insert\ninto sluice.b`"), [
      "a",
      "b"
    ])
  })
})
