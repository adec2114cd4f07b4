/**
 * `sluice fetch` when what surrounds it gives out: exit code 3, a line that says what, no stack, and what is left stays pending.
 */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, type Scope } from "effect"
import { spawn } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"
import { createServer } from "node:http"
import { join } from "node:path"
import * as EmbeddedPostgres from "../../../src/layers/postgres/EmbeddedPostgres.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const program = join(import.meta.dirname, "../../../src/programs/bin/main.ts")

const origin = Effect.acquireRelease(
  Effect.callback<{ readonly base: string; readonly close: () => void; readonly asked: Deferred.Deferred<void> }>(
    (resume) => {
      const asked = Deferred.makeUnsafe<void>()
      const server = createServer((_, response) => {
        Deferred.doneUnsafe(asked, Effect.void)
        setTimeout(() => response.end("x".repeat(100)), 50)
      })
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        const port = typeof address === "object" && address !== null ? address.port : 0
        const close = () => {
          server.close()
          server.closeAllConnections()
        }
        resume(Effect.succeed({ base: `http://127.0.0.1:${port}`, close, asked }))
      })
    }
  ),
  ({ close }) => Effect.sync(close)
)

interface Ended {
  readonly code: number | string
  readonly stderr: string
  readonly stdout: string
}

/** Runs a shell line in which `sluice` is this program; killed when the scope closes. */
const shell = (
  line: string,
  env: Record<string, string | undefined>,
  stdin = ""
): Effect.Effect<Effect.Effect<Ended>, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const child = spawn(
          "/bin/bash",
          ["-c", `sluice() { exec "${process.execPath}" "${program}" "$@"; }; ${line}`],
          {
            env: { ...process.env, NODE_OPTIONS: "", NO_COLOR: "1", ...env }
          }
        )
        let [stdout, stderr] = ["", ""]
        child.stdout.on("data", (chunk) => stdout += String(chunk))
        child.stderr.on("data", (chunk) => stderr += String(chunk))
        child.stdin.on("error", () => {})
        child.stdin.end(stdin)
        const ended = Promise.withResolvers<Ended>()
        child.on("close", (code, signal) => ended.resolve({ code: signal ?? code ?? "?", stderr, stdout }))
        return { child, ended: Effect.promise(() => ended.promise) }
      }),
      ({ child }) => Effect.sync(() => child.kill("SIGKILL"))
    ),
    ({ ended }) => ended
  )

const noStack = (stderr: string): void => {
  assert.notMatch(stderr, /^\s+at /m)
  assert.notInclude(stderr, "[cause]")
}

const childrenOf = (pid: number): ReadonlyArray<number> =>
  readdirSync("/proc").filter((name) => /^\d+$/.test(name)).flatMap((name) => {
    try {
      const parent = Number(readFileSync(`/proc/${name}/stat`, "utf8").split(") ")[1]?.split(" ")[1])
      return parent === pid ? [Number(name)] : []
    } catch {
      return []
    }
  })

const kill = (pids: ReadonlyArray<number>, signal: NodeJS.Signals) =>
  Effect.sync(() => {
    for (const pid of pids) process.kill(pid, signal)
  })

const list = (base: string, count: number) => Array.from({ length: count }, (_, n) => `${base}/${n}`).join("\n")

const recorded = (env: Record<string, string | undefined>, run: string) =>
  Effect.scoped(Effect.gen(function*() {
    const { code, stdout } = yield* yield* shell(`sluice runs --json`, env)
    assert.strictEqual(code, 0)
    return stdout.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line)).find(({ name }) =>
      name === run
    )
      ?.counts
  }))

describe("when the surroundings give out", () => {
  it.live(
    "a database that hangs for longer than the patience, and one that comes back",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const directory = yield* TestDatabase.ownDirectory
        const server = yield* EmbeddedPostgres.make({ directory })
        const { asked, base } = yield* origin
        const env = { SLUICE_DATA_DIR: directory, DATABASE_URL: undefined, SLUICE_DATABASE_PATIENCE: "1s" }
        const running = yield* shell(`sluice fetch --run hang -c 1 -i -`, env, list(base, 1000))
        yield* Deferred.await(asked)
        const { serverPid } = yield* server.processes
        // The postmaster first: one that is stopped forks no backend that the look at its children would miss.
        yield* kill([serverPid], "SIGSTOP")
        const backends = childrenOf(serverPid)
        yield* kill(backends, "SIGSTOP")
        const { code, stderr } = yield* Effect.ensuring(running, kill([serverPid, ...backends], "SIGCONT"))
        assert.strictEqual(code, 3, stderr)
        noStack(stderr)
        assert.match(
          stderr,
          /run hang: the database cannot be had \(the database gave no answer within \d+s\); waiting up to 1s for it$/m
        )
        assert.match(stderr, /^stopped; \d+ recorded here. Go on with: sluice fetch --run hang/m)
        assert.match(
          stderr,
          /^sluice: the run's database failed at \w+, for \d+ s: .+$/m
        )
        const again = yield* yield* shell(
          `sluice fetch --run hang -c 200 --per-host 200 -i - > /dev/null`,
          env,
          list(base, 1000)
        )
        assert.strictEqual(again.code, 0, again.stderr)
        assert.deepStrictEqual(yield* recorded(env, "hang"), {
          pending: 0,
          leased: 0,
          done: 1000,
          failed: 0,
          deferred: 0
        })
      })),
    180_000
  )

  it.live("no database to begin with", () =>
    Effect.scoped(Effect.gen(function*() {
      for (const command of ["fetch http://127.0.0.1:1/", "runs", "fetch --run x"]) {
        const { code, stderr } = yield* yield* shell(`sluice ${command}`, {
          DATABASE_URL: "postgres://nobody@127.0.0.1:1/none"
        })
        assert.strictEqual(code, 3, stderr)
        noStack(stderr)
        assert.match(stderr, /^sluice: the database at 127.0.0.1:1\/none cannot be reached: .*ECONNREFUSED.*\n$/)
      }
    })), 180_000)

  it.live(
    "outputs that are full: the file and the reason are named, and no line is torn",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const directory = yield* TestDatabase.ownDirectory
        yield* EmbeddedPostgres.make({ directory })
        const { base } = yield* origin
        const env = { SLUICE_DATA_DIR: directory, DATABASE_URL: undefined }
        const full = yield* yield* shell(`sluice fetch --run full -i - > /dev/full`, env, list(base, 20))
        assert.strictEqual(full.code, 3, full.stderr)
        noStack(full.stderr)
        assert.match(full.stderr, /^sluice: cannot write standard output: the disk is full \(ENOSPC\)$/m)
        const file = yield* yield* shell(`sluice fetch --run full -o /dev/full -i -`, env, list(`${base}/file`, 20))
        assert.strictEqual(file.code, 3, file.stderr)
        noStack(file.stderr)
        assert.match(file.stderr, /^sluice: cannot write \/dev\/full: the disk is full \(ENOSPC\)$/m)
        // In blocks of 1024 bytes: the file may not grow beyond some lines.
        const out = join(directory, "out.ndjson")
        const cut = yield* yield* shell(
          `ulimit -f 4; sluice fetch --run cut -c 2 -o "${out}" -i -`,
          env,
          list(base, 100)
        )
        assert.strictEqual(cut.code, 3, cut.stderr)
        assert.include(cut.stderr, `sluice: cannot write ${out}: a file may not grow so large (EFBIG)`)
        const { done, pending } = yield* recorded(env, "cut")
        assert.isAbove(pending, 0, "the rest stays pending")
        const before = readFileSync(out, "utf8")
        assert.isTrue(before.endsWith("\n"), "not torn")
        const again = yield* yield* shell(`sluice fetch --run cut -o "${out}"`, env)
        assert.strictEqual(again.code, 0, again.stderr)
        const lines = readFileSync(out, "utf8").trimEnd().split("\n").map((line): string => JSON.parse(line).url)
        assert.strictEqual(new Set(lines).size, lines.length)
        assert.strictEqual(lines.length, before.trimEnd().split("\n").length + 100 - done)
      })),
    180_000
  )
})
