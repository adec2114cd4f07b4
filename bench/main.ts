/**
 * `npm run bench -- NAME [--seconds N] [--runs N]`: runs `bench/NAME.ts` and writes its table into docs/benchmarks.md.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { cpus } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"

/** What a benchmark is told. */
export interface BenchOptions {
  readonly seconds: number
  readonly runs: number
}

const root = join(import.meta.dirname, "..")

const record = (name: string, table: string): void => {
  const path = join(root, "docs/benchmarks.md")
  const [before, rest] = readFileSync(path, "utf8").split(`<!-- bench:${name} -->`)
  const after = rest?.split(`<!-- /bench:${name} -->`)[1]
  if (before === undefined || after === undefined) throw new Error(`docs/benchmarks.md has no place for ${name}`)
  writeFileSync(path, `${before}<!-- bench:${name} -->\n\n${table.trim()}\n\n<!-- /bench:${name} -->${after}`)
}

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: "string", default: "5" }, runs: { type: "string", default: "5" } }
})
const [name] = positionals
if (name === undefined || !existsSync(join(import.meta.dirname, `${name}.ts`))) {
  console.error("usage: npm run bench -- fetch|tasks|jobs|orders|connections [--seconds N] [--runs N]")
  process.exit(2)
}
const { run } = await import(`./${name}.ts`) as { readonly run: (options: BenchOptions) => Promise<string> }
const table = await run({ seconds: Number(values.seconds), runs: Number(values.runs) })
const head =
  `Node ${process.version}, ${cpus().length} x ${cpus()[0]?.model.trim() ?? "unknown"}, ${process.platform}; ` +
  `medians of ${values.runs} runs of ${values.seconds} s.`
console.log(`\n${table}`)
record(name, `${head}\n\n${table}`)
