/** What each entry of the package loads: who imports task groups gets no database client, no HTTP server, and a bounded number of files. */
import { assert, describe, it } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { join, resolve } from "node:path"

const root = resolve(import.meta.dirname, "../..")

interface Loaded {
  /** Files of ours, by the floor and wing that they are in: `layers/jobs`. */
  readonly rooms: ReadonlySet<string>
  readonly files: number
  readonly packages: ReadonlySet<string>
}

const program = (entry: string) => `
import { registerHooks } from "node:module"
const urls = new Set()
registerHooks({ load: (url, context, next) => { urls.add(url); return next(url, context) } })
await import(${JSON.stringify(entry)})
console.log(JSON.stringify([...urls]))
process.exit(0)`

const load = (entry: string): Loaded => {
  const output = execFileSync(
    process.execPath,
    ["--conditions=sluice-source", "--input-type=module", "-e", program(entry)],
    { cwd: root, encoding: "utf8" }
  )
  const urls: ReadonlyArray<string> = JSON.parse(output)
  const own = urls.flatMap((url) => /\/src\/((?:services|layers|programs)\/\w+)/.exec(url)?.[1] ?? [])
  const packages = urls.flatMap((url) => /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url)?.[1] ?? [])
  return { rooms: new Set(own), files: own.length, packages: new Set(packages) }
}

const everyPackage = ["@effect/platform-node", "@effect/platform-node-shared", "@effect/sql-pg", "effect", "ipaddr.js"]

/** The packages that an entry may load, and the wings that it must not. */
const entries: Readonly<Record<string, { readonly packages: ReadonlyArray<string>; readonly without: RegExp }>> = {
  "sluice/tasks": { packages: ["effect"], without: /\/(postgres|jobs|fetch|orders|http|bin|promise)$/ },
  "sluice/testing": { packages: ["effect"], without: /\/(fetch|orders|http|bin|promise)$/ },
  "sluice/postgres": { packages: ["effect", "@effect/sql-pg"], without: /\/(jobs|fetch|orders|http|bin|promise)$/ },
  "sluice/jobs": { packages: ["effect", "@effect/sql-pg"], without: /\/(fetch|orders|http|bin|promise)$/ },
  "sluice/orders": { packages: ["effect", "@effect/sql-pg"], without: /\/(fetch|http|bin|promise)$/ },
  "sluice/fetch": { packages: everyPackage, without: /\/(jobs|orders|http|bin|promise)$/ },
  "sluice/promise": { packages: everyPackage, without: /\/(orders|http|bin)$/ },
  "sluice/http": { packages: everyPackage, without: /\/(bin|promise)$/ },
  sluice: { packages: everyPackage, without: /\/(bin|promise)$/ }
}

describe("an entry loads what it needs", () => {
  it.each(Object.entries(entries))("%s", (entry, { packages, without }) => {
    const loaded = load(entry)
    assert.isAbove(loaded.files, 0)
    const beyond = [...loaded.packages].filter((name) => name.startsWith("@effect/") || name.startsWith("@embedded"))
      .filter((name) => !packages.includes(name))
    assert.deepStrictEqual(beyond, [])
    assert.deepStrictEqual([...loaded.rooms].filter((room) => without.test(room)), [])
  })

  it("task groups are a few dozen files", () => {
    assert.isBelow(load("sluice/tasks").files, 70)
  })

  it("every entry is held to it", () => {
    const manifest: { readonly exports: object } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
    const names = Object.keys(manifest.exports).filter((door) => door !== "./package.json")
    assert.deepStrictEqual(names.map((door) => door.replace(".", "sluice")).toSorted(), Object.keys(entries).toSorted())
  })
})
