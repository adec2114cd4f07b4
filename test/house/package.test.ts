/**
 * What npm would publish: it holds what it should, nothing else, and a stranger's program can import every door of it.
 */
import { assert, describe, it } from "@effect/vitest"
import { execFileSync, spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join, resolve } from "node:path"

const root = resolve(import.meta.dirname, "../..")

const manifest: {
  readonly exports: Record<string, unknown>
  readonly version: string
  readonly bin: { readonly sluice: string }
} = JSON
  .parse(readFileSync(join(root, "package.json"), "utf8"))

/** Packs the house and unpacks it as `node_modules/sluice` of a stranger's empty project. */
const install = (): { readonly project: string; readonly files: ReadonlyArray<string> } => {
  const project = mkdtempSync(join(tmpdir(), "sluice-package-"))
  const [packed]: ReadonlyArray<
    { readonly filename: string; readonly files: ReadonlyArray<{ readonly path: string }> }
  > = JSON.parse(
    execFileSync("npm", ["pack", "--json", "--pack-destination", project], {
      cwd: root,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"]
    })
  )
  assert.isDefined(packed)
  const home = join(project, "node_modules", "sluice")
  mkdirSync(home, { recursive: true })
  execFileSync("tar", ["-xzf", join(project, packed.filename), "-C", home, "--strip-components=1"])
  symlinkSync(join(root, "node_modules"), join(home, "node_modules"))
  return { project, files: packed.files.map((file) => file.path) }
}

describe("the packed package", () => {
  it("holds built JS, types and sources, no tests, and works when it is installed", () => {
    const { project, files } = install()
    try {
      assert.deepStrictEqual(
        files.filter((file) =>
          !/^(dist|src|docs)\/|^scripts\/(sluice|requireNode)\.mjs$|^(package\.json|(README|CHANGELOG)\.md|LICENSE)$/
            .test(
              file
            )
        ),
        []
      )
      assert.isTrue(files.includes("docs/fetching.md") && files.includes("CHANGELOG.md"))
      assert.isTrue(files.includes("dist/exports/fetch.js") && files.includes("dist/exports/fetch.d.ts"))

      const doors = Object.keys(manifest.exports).filter((door) => door !== "./package.json")
      const program = doors.map((door) => `await import(${JSON.stringify(door.replace(".", "sluice"))})`).join("\n")
      execFileSync(process.execPath, ["--input-type=module", "-e", program], { cwd: project, stdio: "pipe" })

      // As npm links it: by its first line, from anywhere.
      mkdirSync(join(project, "bin"))
      const bin = join(project, "bin/sluice")
      symlinkSync(join(project, "node_modules/sluice", manifest.bin.sluice), bin)
      const env = { PATH: `${dirname(process.execPath)}:${process.env["PATH"]}` }
      const options = { cwd: tmpdir(), encoding: "utf8", env } as const
      assert.include(execFileSync(bin, ["--version"], options), manifest.version)
      const wrong = spawnSync(bin, ["runs", "--jsn"], { ...options, env: { ...env, npm_lifecycle_event: "npx" } })
      assert.match(wrong.stderr, /what it takes: npx sluice runs --help/)
    } finally {
      rmSync(project, { recursive: true })
    }
  })
})
