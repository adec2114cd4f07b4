/**
 * Every TypeScript block of README.md and docs/*.md is type-checked and run, against the sources, as a program of its
 * own that imports `sluice/...`. A block that shows output with `// =>` must print exactly that, in that order. A block
 * marked ` ```ts no-run ` is only type-checked.
 */
import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { mkdirSync, rmSync, writeFileSync } from "node:fs"
import * as Url from "node:url"
import { allBlocks, blocksOf } from "./blocks.ts"

const root = new URL("../../", import.meta.url)
// Inside the package, so that `sluice/...` finds it; with a dot, so that the project's own tsconfig does not.
const directory = new URL(`./.blocks-${process.pid}/`, import.meta.url)
const blocks = allBlocks(root)

rmSync(directory, { recursive: true, force: true })
mkdirSync(directory, { recursive: true })
for (const block of blocks) writeFileSync(new URL(block.file, directory), `${block.code}\nexport {}\n`)
writeFileSync(
  new URL("tsconfig.json", directory),
  JSON.stringify({
    extends: "../../../tsconfig.json",
    compilerOptions: { noUnusedLocals: false, noUnusedParameters: false, plugins: [] },
    include: ["*.ts"]
  })
)

interface Result {
  readonly code: number
  readonly output: string
  readonly errors: string
}

const run = (file: string, args: ReadonlyArray<string>): Promise<Result> =>
  new Promise((resolve) => {
    const options = { cwd: Url.fileURLToPath(root), timeout: 50_000, env: { ...process.env, NODE_NO_WARNINGS: "1" } }
    execFile(file, args, options, (error, output, errors) => {
      resolve({ code: error === null ? 0 : typeof error.code === "number" ? error.code : 1, output, errors })
    })
  })

describe("documentation", () => {
  it("the blocks of a page are found, with what they print and whether they are run", () => {
    const page = "text\n```ts\nconsole.log(1) // => 1\n```\n```sh\nls\n```\n```ts no-run\nserve()\n```\n"
    assert.deepStrictEqual(
      blocksOf("docs/x.md", page).map(({ at, code, isRun, output }) => [at, code, isRun, output]),
      [["docs/x.md:3", "console.log(1) // => 1", true, ["1"]], ["docs/x.md:9", "serve()", false, undefined]]
    )
  })

  it("every block is right for the type checker", async () => {
    const tsc = Url.fileURLToPath(new URL("node_modules/.bin/tsc", root))
    const result = await run(process.execPath, [tsc, "-p", Url.fileURLToPath(new URL("tsconfig.json", directory))])
    assert.strictEqual(result.code, 0, result.output)
  })

  describe.concurrent("runs", () => {
    for (const block of blocks.filter((block) => block.isRun)) {
      it(block.at, async () => {
        const file = Url.fileURLToPath(new URL(block.file, directory))
        const result = await run(process.execPath, ["--conditions=sluice-source", file])
        assert.strictEqual(result.code, 0, result.errors + result.output)
        if (block.output !== undefined) {
          assert.deepStrictEqual(result.output.trimEnd().split("\n").map((line) => line.trimEnd()), block.output)
        }
      })
    }
  })
})

process.on("exit", () => rmSync(directory, { recursive: true, force: true }))
