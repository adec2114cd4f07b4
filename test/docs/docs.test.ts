/**
 * Every TypeScript block of README.md and docs/*.md is type-checked and run, against the sources, as a program of its
 * own that imports `sluice/...`; `blocks.ts` says how. A block that shows output with `// =>` must print exactly that, in
 * that order.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { execFile, spawn } from "node:child_process"
import { mkdirSync, rmSync, writeFileSync } from "node:fs"
import * as Url from "node:url"
import * as TestDatabase from "../support/TestDatabase.ts"
import { allBlocks, type Block, blocksOf } from "./blocks.ts"

const root = new URL("../../", import.meta.url)
// Inside the package, so that `sluice/...` finds it; with a dot, so that the project's own tsconfig does not.
const directory = new URL(`./.blocks-${process.pid}/`, import.meta.url)
const blocks = allBlocks(root)

rmSync(directory, { recursive: true, force: true })
for (const block of blocks) {
  const file = new URL(block.file, directory)
  mkdirSync(new URL(".", file), { recursive: true })
  writeFileSync(file, `${block.code}\nexport {}\n`)
}
writeFileSync(
  new URL("tsconfig.json", directory),
  JSON.stringify({
    extends: "../../../tsconfig.json",
    compilerOptions: { noUnusedLocals: false, noUnusedParameters: false, plugins: [] },
    include: ["**/*.ts"]
  })
)

interface Result {
  readonly code: number
  readonly output: string
  readonly errors: string
}

const settings = (env: NodeJS.ProcessEnv) => ({
  cwd: Url.fileURLToPath(root),
  timeout: 50_000,
  env: { ...process.env, NODE_NO_WARNINGS: "1", ...env }
})

const run = (file: string, args: ReadonlyArray<string>, env: NodeJS.ProcessEnv = {}): Promise<Result> =>
  new Promise((resolve) => {
    execFile(file, args, settings(env), (error, output, errors) => {
      resolve({ code: error === null ? 0 : typeof error.code === "number" ? error.code : 1, output, errors })
    })
  })

const argumentsOf = (block: Block) => [
  "--conditions=sluice-source",
  Url.fileURLToPath(new URL(block.file, directory))
]

/** Runs a program until it has printed so many lines, then asks it to leave. */
const serve = (block: Block, env: NodeJS.ProcessEnv): Promise<Result> =>
  new Promise((resolve) => {
    const child = spawn(process.execPath, argumentsOf(block), settings(env))
    let output = ""
    let errors = ""
    child.stdout.on("data", (chunk) => {
      output += chunk
      if (output.split("\n").length > (block.output ?? []).length) child.kill("SIGTERM")
    })
    child.stderr.on("data", (chunk) => void (errors += chunk))
    child.on("close", (code) => resolve({ code: code ?? 1, output, errors }))
  })

/** Runs a block, and looks at what it printed. */
const check = async (block: Block, env: NodeJS.ProcessEnv = {}): Promise<void> => {
  const isServed = block.mode === "serve"
  const result = isServed ? await serve(block, env) : await run(process.execPath, argumentsOf(block), env)
  assert.strictEqual(result.code, isServed ? 143 : 0, `${block.at}\n${result.errors}${result.output}`)
  if (block.output !== undefined) {
    assert.deepStrictEqual(result.output.trimEnd().split("\n").map((line) => line.trimEnd()), block.output, block.at)
  }
}

describe("documentation", () => {
  it("the blocks of a page are found, with what they print and how they are run", () => {
    const page = "text\n```ts\nconsole.log(1) // => 1\n```\n```sh\nls\n```\n```ts no-run\nserve()\n```\n" +
      "```ts database file=a.ts\na()\n```\n```ts database serve\nb() // => 2\n```\n"
    assert.deepStrictEqual(
      blocksOf("docs/x.md", page).map(({ at, code, file, mode, output }) => [at, file, code, mode, output]),
      [
        ["docs/x.md:3", "docs-x-md/3.ts", "console.log(1) // => 1", "run", ["1"]],
        ["docs/x.md:9", "docs-x-md/9.ts", "serve()", "check", undefined],
        ["docs/x.md:12", "docs-x-md/a.ts", "a()", "database", undefined],
        ["docs/x.md:15", "docs-x-md/15.ts", "b() // => 2", "serve", ["2"]]
      ]
    )
  })

  it("every block is right for the type checker", async () => {
    const tsc = Url.fileURLToPath(new URL("node_modules/.bin/tsc", root))
    const result = await run(process.execPath, [tsc, "-p", Url.fileURLToPath(new URL("tsconfig.json", directory))])
    assert.strictEqual(result.code, 0, result.output)
  })

  it("a block that names a database is run with one", () => {
    const unrun = blocks.filter(({ code, mode }) => mode === "check" && /sluice\/postgres|PgClient/u.test(code))
    assert.deepStrictEqual(unrun.map(({ at }) => at), [])
  })

  describe.concurrent("runs", () => {
    for (const block of blocks.filter(({ mode }) => mode === "run")) it(block.at, () => check(block))
  })

  describe("runs with a database", () => {
    const pages = Map.groupBy(blocks.filter(({ mode }) => mode === "database" || mode === "serve"), ({ page }) => page)
    for (const [page, inOrder] of pages) {
      it.effect(page, () =>
        Effect.gen(function*() {
          const { url } = yield* TestDatabase.TestDatabase
          for (const block of inOrder) yield* Effect.promise(() => check(block, { DATABASE_URL: url }))
        }).pipe(Effect.provide(TestDatabase.layer)), 120_000)
    }
  })
})

process.on("exit", () => rmSync(directory, { recursive: true, force: true }))
