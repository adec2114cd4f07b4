/**
 * The ways to start the program: `./sluice` from anywhere, `npm start`, the package. Each runs it under the same flags, says what is
 * missing, and calls it by the name that starts it again.
 */
import { assert, describe, it } from "@effect/vitest"
import { execFileSync, spawnSync } from "node:child_process"
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"

const root = resolve(import.meta.dirname, "../..")

const manifest: {
  readonly version: string
  readonly scripts: { readonly start: string }
  readonly engines: { readonly node: string }
} = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))

const env = { PATH: process.env["PATH"] ?? "", NO_COLOR: "1" }

const run = (
  file: string,
  args: ReadonlyArray<string>,
  options: { readonly cwd?: string; readonly env?: object } = {}
) => {
  const { status, stderr, stdout } = spawnSync(file, args, {
    cwd: options.cwd ?? root,
    encoding: "utf8",
    env: { ...env, ...options.env }
  })
  return { status, stderr, stdout }
}

/** Runs with a directory that is gone afterwards. */
const inDirectory = (use: (directory: string) => void) => {
  const directory = mkdtempSync(join(tmpdir(), "sluice launcher-"))
  try {
    use(directory)
  } finally {
    rmSync(directory, { recursive: true })
  }
}

const flags = /--min-semi-space-size=\d+ --max-semi-space-size=\d+ --heap-growing-percent=\d+/

/** As if this Node were another one. */
const pretending = (version: string) =>
  `data:text/javascript,Object.defineProperty(process, "versions", { value: { ...process.versions, node: "${version}" } })`

describe("the launcher", () => {
  it("runs the program from any directory and over a link, with nothing but results on standard output", () => {
    inDirectory((directory) => {
      const link = join(directory, "sl")
      symlinkSync(join(root, "sluice"), link)
      assert.deepStrictEqual(run(link, ["--version"], { cwd: directory }), {
        status: 0,
        stdout: `sluice v${manifest.version}\n`,
        stderr: ""
      })
      const wrong = run(link, ["runs", "--jsn"])
      assert.include(wrong.stderr, `what it takes: '${link}' runs --help`)
      assert.deepStrictEqual([wrong.status, wrong.stdout], [2, ""])
    })
  })

  it("says what to do where nothing is installed, or not all of it", () => {
    inDirectory((directory) => {
      for (const file of ["sluice", "scripts/sluice.mjs", "scripts/requireNode.mjs"]) {
        mkdirSync(join(directory, "scripts"), { recursive: true })
        copyFileSync(join(root, file), join(directory, file))
      }
      const missing = run(join(directory, "sluice"), ["--version"])
      assert.deepStrictEqual([missing.status, missing.stdout], [3, ""])
      assert.strictEqual(
        missing.stderr,
        `sluice: its packages are not installed yet; run: npm ci --prefix '${directory}'\n`
      )
      mkdirSync(join(directory, "node_modules"))
      const noNode = run("/bin/sh", [join(directory, "sluice"), "--version"], {
        env: { PATH: join(directory, "empty") }
      })
      assert.strictEqual(noNode.status, 3, noNode.stderr)
    })
  })

  it("refuses a Node that is too old before it reads anything of the program", () => {
    for (
      const [version, isFine] of [["20.20.2", false], ["22.18.0", false], ["23.11.0", false], ["22.19.0", true], [
        "24.0.0",
        true
      ]] as const
    ) {
      const { status, stderr } = run(process.execPath, [
        "--import",
        pretending(version),
        join(root, "scripts/requireNode.mjs")
      ])
      assert.strictEqual(status, isFine ? 0 : 3, version)
      if (!isFine) {
        assert.match(stderr, new RegExp(`^sluice: Node ${version} is too old; it needs Node 22\\.19 or newer`))
      }
    }
    assert.strictEqual(manifest.engines.node, "^22.19.0 || >=24", "the same in package.json")
  })

  it("has the same flags of V8 however it is started", () => {
    const [ofStart] = flags.exec(manifest.scripts.start) ?? []
    assert.isDefined(ofStart)
    for (const file of ["sluice", "scripts/sluice.mjs"]) {
      assert.strictEqual(flags.exec(readFileSync(join(root, file), "utf8"))?.[0], ofStart, file)
    }
  })

  it("is called by what npm was called by, and says that npm writes to standard output", () => {
    const start = (...args: ReadonlyArray<string>) =>
      run("npm", ["start", ...args], { env: { HOME: process.env["HOME"] } })
    const quiet = start("-s", "--", "runs", "--jsn")
    assert.include(quiet.stderr, "what it takes: npm start -s -- runs --help")
    assert.deepStrictEqual([quiet.status, quiet.stdout], [2, ""])
    const loud = start("--", "--version")
    assert.include(loud.stderr, "sluice: npm writes lines of its own to standard output; `./sluice` does not")
    assert.include(loud.stdout, `sluice v${manifest.version}`)
  })

  it("is a file that git knows to be a program", () => {
    assert.match(execFileSync("git", ["ls-files", "-s", "sluice"], { cwd: root, encoding: "utf8" }), /^100755 /)
  })
})
