/** The code broken on purpose: what is loaded anew needs a Node without a test runner's loader in between. */
import { assert, it } from "@effect/vitest"
import { spawn } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"
import { basename, join } from "node:path"
import { fileURLToPath } from "node:url"
import * as CodeMutants from "./CodeMutants.ts"

const isLong = process.env["SLUICE_LONG"] === "1"

/** What a hunt printed, and what it ended with. */
const hunt = (args: ReadonlyArray<string>) =>
  new Promise<{ readonly code: number | null; readonly output: string }>((resolve) => {
    const child = spawn(process.execPath, [
      fileURLToPath(new URL("../simulate.ts", import.meta.url)),
      "--mutants",
      "code",
      ...args
    ])
    let output = ""
    child.stdout.on("data", (text) => (output += text))
    child.stderr.on("data", (text) => (output += text))
    child.on("close", (code) => resolve({ code, output }))
  })

const src = fileURLToPath(new URL("../../../src", import.meta.url))
const pathsByName = Map.groupBy(readdirSync(src, { recursive: true, encoding: "utf8" }), (path) => basename(path))

it.each(CodeMutants.mutants)("\"$name\" names one file of src, and one place in it", ({ file, from }) => {
  const found = pathsByName.get(file) ?? []
  assert.deepStrictEqual(found.map((path) => readFileSync(join(src, path), "utf8").split(from).length), [2])
})

it("every mutant of the code is found within its seeds", async () => {
  const { code, output } = await hunt(isLong ? [] : ["--level", "memory", "--max-seeds", "10", "--seconds", "60"])
  assert.strictEqual(code, 0, output)
  const due = CodeMutants.mutants.filter(({ level, seeds }) => isLong || (level === "memory" && seeds <= 10))
  for (const { name } of due) assert.include(output, `found | ${name}`)
}, 1_800_000)
