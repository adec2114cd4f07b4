/**
 * The layout rules bite: each rule of `.dependency-cruiser.mjs` refuses a small house that breaks it. And they see every arrow: a string
 * that names a file (`new URL("../../programs/bin/x.ts", import.meta.url)`) counts as an import.
 */
import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join, resolve } from "node:path"

const root = resolve(import.meta.dirname, "../..")
const depcruise = join(root, "node_modules/.bin/depcruise")
const config = join(root, ".dependency-cruiser.mjs")

/** Builds a house of these files, cruises it, and returns what the rules say. */
const cruise = (files: Record<string, string>): { status: number | null; output: string } => {
  const house = mkdtempSync(join(tmpdir(), "sluice-layout-"))
  try {
    symlinkSync(join(root, "node_modules"), join(house, "node_modules"))
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(house, path)), { recursive: true })
      writeFileSync(join(house, path), text)
    }
    const { status, stdout, stderr } = spawnSync(process.execPath, [depcruise, "--config", config, "src"], {
      cwd: house,
      encoding: "utf8"
    })
    return { status, output: stdout + stderr }
  } finally {
    rmSync(house, { recursive: true })
  }
}

/** The source with an import of each file that a string in it names; of a name that is put together, its beginning. */
const unveiled = (text: string): string => {
  const named = [...text.matchAll(/["'`](\.{1,2}\/[\w./-]+)/g)].map(([, name = ""]) =>
    /\.\w+$/.test(name) ? name.replace(/\.js$/, ".ts") : `${name}.ts`
  )
  return text + [...new Set(named)].map((name) => `import ${JSON.stringify(name)}\n`).join("")
}

const unveiledAll = (files: Record<string, string>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(files).map((
      [path, text]
    ) => [path, /^src\/(?:services|layers)\//.test(path) ? unveiled(text) : text])
  )

const thing = "export const thing = 1\n"
const importing = (path: string) => `import { thing } from "${path}"\nexport const other = thing\n`

const broken: ReadonlyArray<readonly [rule: string, files: Record<string, string>]> = [
  ["services-are-pure", {
    "src/services/tasks/A.ts": importing("../../layers/tasks/B.ts"),
    "src/layers/tasks/B.ts": thing
  }],
  ["services-are-pure", {
    "src/services/tasks/A.ts": "import type { T } from \"../../layers/tasks/B.ts\"\nexport type U = T\n",
    "src/layers/tasks/B.ts": "export type T = 1\n"
  }],
  ["services-import-only-effect", {
    "src/services/tasks/A.ts": "import { readFileSync } from \"node:fs\"\nexport const a = readFileSync\n"
  }],
  ["services-import-only-effect", {
    "src/services/tasks/A.ts": "import { request } from \"undici\"\nexport const a = request\n"
  }],
  ["layers-below-programs", {
    "src/layers/tasks/A.ts": importing("../../programs/B.ts"),
    "src/programs/B.ts": thing
  }],
  ["programs-below-bin", { "src/programs/A.ts": importing("./bin/B.ts"), "src/programs/bin/B.ts": thing }],
  ["bin-provides", {
    "src/programs/fetch/A.ts": importing("../../layers/fetch/B.ts"),
    "src/layers/fetch/B.ts": thing
  }],
  ["commands-apart", {
    "src/programs/serve/A.ts": importing("../work/Command.ts"),
    "src/programs/work/Command.ts": thing
  }],
  ["nobody-imports-the-public-face", {
    "src/programs/A.ts": importing("../exports/B.ts"),
    "src/exports/B.ts": thing
  }],
  ["no-index", { "src/programs/A.ts": importing("./b/index.ts"), "src/programs/b/index.ts": thing }],
  ["no-cycles", { "src/programs/A.ts": importing("./B.ts"), "src/programs/B.ts": importing("./A.ts") }],
  ["no-platform-barrel", {
    "src/layers/tasks/A.ts": "import { NodeRuntime } from \"@effect/platform-node\"\nexport const a = NodeRuntime\n"
  }],
  ["wings-are-declared", {
    "src/programs/A.ts": importing("../services/crawl/B.ts"),
    "src/services/crawl/B.ts": thing
  }],
  ["wings-are-declared", { "src/programs/A.ts": importing("../layers/B.ts"), "src/layers/B.ts": thing }],
  ["wing-postgres", { "src/layers/postgres/A.ts": importing("../jobs/B.ts"), "src/layers/jobs/B.ts": thing }],
  ["wing-http", { "src/services/http/A.ts": importing("../crawl/B.ts"), "src/services/crawl/B.ts": thing }],
  ...["tasks", "postgres", "fetch", "jobs", "orders"].map((name) =>
    [`wing-${name}`, {
      [`src/services/${name}/A.ts`]: importing("../http/B.ts"),
      "src/services/http/B.ts": thing
    }] as const
  ),
  ["wing-tasks", { "src/services/tasks/A.ts": importing("../fetch/B.ts"), "src/services/fetch/B.ts": thing }],
  ["wing-fetch", { "src/services/fetch/A.ts": importing("../jobs/B.ts"), "src/services/jobs/B.ts": thing }],
  ["wing-jobs", { "src/layers/jobs/A.ts": importing("../orders/B.ts"), "src/layers/orders/B.ts": thing }],
  ["wing-orders", { "src/services/orders/A.ts": importing("../fetch/B.ts"), "src/services/fetch/B.ts": thing }]
]

/** Arrows that stand in strings, and the rule that each breaks. */
const hidden: ReadonlyArray<readonly [rule: string, files: Record<string, string>]> = [
  ["layers-below-programs", {
    "src/layers/tasks/A.ts": "export const url = new URL(\"../../programs/bin/B.ts\", import.meta.url)\n",
    "src/programs/bin/B.ts": thing
  }],
  ["layers-below-programs", {
    "src/layers/tasks/A.ts":
      "const end = \".js\"\nexport const url = new URL(`../../programs/bin/B${end}`, import.meta.url)\n",
    "src/programs/bin/B.ts": thing
  }],
  ["services-are-pure", {
    "src/services/tasks/A.ts": "export const name = '../../layers/tasks/B.js'\n",
    "src/layers/tasks/B.ts": thing
  }],
  ["wing-jobs", {
    "src/layers/jobs/A.ts": "export const other = () => import(\"../http/B.ts\")\n",
    "src/layers/http/B.ts": thing
  }]
]

describe("layout rules", () => {
  it.each(broken)("%s is refused (%#)", (rule, files) => {
    const { status, output } = cruise(files)
    assert.notStrictEqual(status, 0, output)
    assert.include(output, rule)
  })

  it.each(hidden)("%s is refused to an arrow in a string (%#)", (rule, files) => {
    const { status, output } = cruise(unveiledAll(files))
    assert.notStrictEqual(status, 0, output)
    assert.include(output, rule)
  })

  it("a house in order passes", () => {
    const { status, output } = cruise(unveiledAll({
      "src/services/tasks/A.ts": "import { Effect } from \"effect\"\nexport const thing = Effect.void\n",
      "src/services/fetch/B.ts": importing("../tasks/A.ts"),
      "src/layers/fetch/C.ts": importing("../../services/fetch/B.ts"),
      "src/layers/fetch/thread.ts": thing,
      "src/layers/http/E.ts": importing("../fetch/C.ts") +
        "export const url = new URL(\"../fetch/thread.ts\", import.meta.url)\n",
      "src/programs/bin/D.ts": importing("../../layers/http/E.ts")
    }))
    assert.strictEqual(status, 0, output)
  })

  it("our own house is in order, in its strings too", () => {
    const files = globSync("src/**/*.ts", { cwd: root }).map((path) => [path, readFileSync(join(root, path), "utf8")])
    const { status, output } = cruise(unveiledAll(Object.fromEntries(files)))
    assert.strictEqual(status, 0, output)
  })
})
