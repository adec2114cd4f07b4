/** How each trouble of the embedded server looks: a typed error with one line, and nothing left running. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { execFileSync } from "node:child_process"
import { mkdirSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as Database from "../../../src/layers/postgres/Database.ts"
import type { DatabaseError } from "../../../src/layers/postgres/DatabaseError.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const start = (directory: string): Effect.Effect<void, DatabaseError> =>
  Effect.void.pipe(Effect.provide(Database.layer({ directory, poolMin: 0 })))

const failure = Effect.fnUntraced(function*(directory: string) {
  const error = yield* Effect.flip(start(directory))
  assert.notInclude(error.message, "\n")
  return error
})

describe("EmbeddedFailure", () => {
  it.live("data of another major version", () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      mkdirSync(join(directory, "pg"))
      writeFileSync(join(directory, "pg", "PG_VERSION"), "15\n")
      const error = yield* failure(directory)
      assert.strictEqual(error.reason._tag, "DataDirectoryVersion")
      assert.include(error.message, "Postgres 15")
      assert.include(error.message, "Postgres 18")
    }))

  it.live("a directory with something else in it", () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      mkdirSync(join(directory, "pg"))
      writeFileSync(join(directory, "pg", "holiday.jpg"), "")
      assert.strictEqual((yield* failure(directory)).reason._tag, "ClusterDamaged")
    }))

  it.live("a path that goes through a file", () =>
    Effect.gen(function*() {
      const directory = yield* TestDatabase.ownDirectory
      writeFileSync(join(directory, "file"), "")
      for (const path of [join(directory, "file"), join(directory, "file", "below"), "/proc/sluice"]) {
        assert.strictEqual((yield* failure(path)).reason._tag, "DataDirectoryUnusable", path)
      }
    }))

  const damages: ReadonlyArray<readonly [string, (cluster: string) => void]> = [
    ["the control file cut off", (cluster) => truncateSync(join(cluster, "global", "pg_control"), 100)],
    ["the control file missing", (cluster) => rmSync(join(cluster, "global", "pg_control"))],
    ["the write-ahead log missing", (cluster) => {
      rmSync(join(cluster, "pg_wal"), { recursive: true })
      mkdirSync(join(cluster, "pg_wal", "archive_status"), { recursive: true })
      execFileSync("chown", ["-R", "--reference", cluster, join(cluster, "pg_wal")])
    }],
    ["a setting that is none", (cluster) => writeFileSync(join(cluster, "postgresql.auto.conf"), "nonsense = 1\n")],
    ["a folder missing", (cluster) => rmSync(join(cluster, "pg_multixact"), { recursive: true })]
  ]
  for (const [what, damage] of damages) {
    it.live(`a damaged database: ${what}`, () =>
      Effect.gen(function*() {
        const directory = yield* TestDatabase.ownDirectory
        yield* start(directory)
        damage(join(directory, "pg"))
        const error = yield* failure(directory)
        assert.strictEqual(error.reason._tag, "ClusterDamaged", error.message)
        assert.include(error.message, "pg.log")
      }))
  }

  const canMount = process.getuid?.() === 0 && process.platform === "linux"
  it.live.skipIf(!canMount)("a full disk, at creation and at start", () =>
    Effect.gen(function*() {
      const own = yield* TestDatabase.ownDirectory
      const directory = join(own, "small")
      mkdirSync(directory)
      execFileSync("/bin/mount", ["-t", "tmpfs", "-o", "size=16m,mode=755", "tmpfs", directory])
      yield* Effect.addFinalizer(() => Effect.sync(() => execFileSync("/bin/umount", ["-l", directory])))
      const error = yield* failure(directory)
      assert.strictEqual(error.reason._tag, "DiskFull", error.message)
      assert.deepStrictEqual(readdirSync(directory).filter((name) => name.startsWith("pg.new")).length <= 1, true)
      // With room again the same directory works, whatever the failed attempt left there.
      execFileSync("/bin/mount", ["-o", "remount,size=200m", directory])
      yield* start(directory)
    }))
})
