/**
 * The second hour of a run: the line that is printed is pasted, what is done is fetched again, a run is removed. Real processes.
 */
import { assert, layer } from "@effect/vitest"
import { Deferred, Effect, type Scope } from "effect"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import * as fs from "node:fs"
import { createServer } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as TestDatabase from "../../support/TestDatabase.ts"

const program = join(import.meta.dirname, "../../../src/programs/bin/main.ts")

interface Origin {
  readonly base: string
  readonly asked: Array<string>
  /** Ends when so many have been asked for. */
  readonly askedFor: (count: number) => Effect.Effect<void>
}

/** `/404/...` and `/503/...` answer so; `/secret/...` wants a header; all else takes 20 ms. */
const origin: Effect.Effect<Origin, never, Scope.Scope> = Effect.gen(function*() {
  const asked: Array<string> = []
  const waiting: Array<readonly [count: number, deferred: Deferred.Deferred<void>]> = []
  const server = createServer((request, response) => {
    const path = request.url ?? ""
    asked.push(path)
    for (const [count, deferred] of waiting) if (asked.length >= count) Deferred.doneUnsafe(deferred, Effect.void)
    const status = /^\/(\d{3})\//.exec(path)?.[1]
    if (status !== undefined) response.statusCode = Number(status)
    if (path.startsWith("/secret/") && request.headers.authorization !== "Bearer it's") response.statusCode = 401
    setTimeout(() => response.end(`body of ${path}`), 20)
  })
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
    () =>
      Effect.sync(() => {
        server.close()
        server.closeAllConnections()
      })
  )
  const address = server.address()
  return {
    base: `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`,
    asked,
    askedFor: (count) =>
      Effect.suspend(() => {
        if (asked.length >= count) return Effect.void
        const deferred = Deferred.makeUnsafe<void>()
        waiting.push([count, deferred])
        return Deferred.await(deferred)
      })
  }
})

interface Ended {
  readonly code: number | string
  readonly stdout: string
  readonly stderr: string
}

interface Running {
  readonly child: ChildProcess
  readonly ended: Effect.Effect<Ended>
}

/** Starts a line of bash in which `sluice` is this program, in a directory. */
const start = Effect.fnUntraced(function*(line: string, cwd: string) {
  const { url } = yield* TestDatabase.TestDatabase
  return yield* Effect.acquireRelease(
    Effect.sync((): Running => {
      const child = spawn(
        "/bin/bash",
        ["-c", `sluice() { exec "${process.execPath}" "${program}" "$@"; }; ${line}`],
        {
          cwd,
          stdio: ["pipe", "pipe", "pipe"],
          env: { ...process.env, NODE_OPTIONS: "", NO_COLOR: "1", DATABASE_URL: url }
        }
      )
      let [stdout, stderr] = ["", ""]
      child.stdout.on("data", (chunk) => stdout += String(chunk))
      child.stderr.on("data", (chunk) => stderr += String(chunk))
      const ended = Promise.withResolvers<Ended>()
      child.on("close", (code, signal) => ended.resolve({ code: signal ?? code ?? "?", stderr, stdout }))
      return { child, ended: Effect.promise(() => ended.promise) }
    }),
    ({ child }) => Effect.sync(() => child.kill("SIGKILL"))
  )
})

const shell = (line: string, cwd = tmpdir()) => Effect.scoped(Effect.flatMap(start(line, cwd), ({ ended }) => ended))

const directory = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(tmpdir(), "sluice-go-on-"))),
  (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true }))
)

const bash = (line: string) => spawnSync("bash", ["-c", line])

const numbers = (count: number) => Array.from({ length: count }, (_, n) => n)
const linesOf = (text: string) => text.split("\n").filter((line) => line !== "")
const hint = (stderr: string) => /Go on with: (.*)$/m.exec(stderr)?.[1] ?? ""

layer(TestDatabase.layer, { excludeTestServices: true })("a run that goes on", (it) => {
  it.effect(
    "by the line that was printed, from anywhere: every body is kept, every outcome in its file",
    () =>
      Effect.gen(function*() {
        const { asked, askedFor, base } = yield* origin
        const cwd = yield* directory
        const list = numbers(60).map((n) => `${base}/${n}`).join("\n")
        fs.writeFileSync(join(cwd, "my list"), list)
        const first = yield* start(
          "sluice fetch -i 'my list' --run begun --save bodies -o out.ndjson -c 3 --per-host 3",
          cwd
        )
        yield* askedFor(20)
        first.child.kill("SIGINT")
        const { code, stderr } = yield* first.ended
        assert.strictEqual(code, 130, stderr)
        const line = hint(stderr)
        assert.strictEqual(line, "sluice fetch --run begun")
        const second = yield* shell(line)
        assert.deepStrictEqual([second.code, second.stdout], [0, ""], second.stderr)
        assert.include(
          second.stderr,
          `run begun goes on as it was begun: --save ${cwd}/bodies --output ${cwd}/out.ndjson --concurrency 3 --per-host 3\n`
        )
        const outcomes = linesOf(fs.readFileSync(join(cwd, "out.ndjson"), "utf8")).map((one) => JSON.parse(one))
        assert.deepStrictEqual(outcomes.map(({ url }): string => url).sort(), list.split("\n").sort())
        for (const { savedTo, url } of outcomes) {
          assert.strictEqual(fs.readFileSync(savedTo, "utf8"), `body of ${new URL(url).pathname}`)
        }
        // What was on its way when it was interrupted is asked for again; nothing else is.
        assert.isAtMost(asked.length, 63)

        const third = yield* shell("sluice fetch --run begun")
        assert.include(third.stderr, "all of it is done; to fetch it again: sluice fetch --run begun --again\n")
        assert.strictEqual(third.code, 0)
        const again = yield* shell("sluice fetch --run begun --again --status 2xx -c 5")
        assert.include(again.stderr, "run begun from now on: --concurrency 5 (was 3)\n")
        assert.strictEqual(linesOf(fs.readFileSync(join(cwd, "out.ndjson"), "utf8")).length, 120)
        const shown = yield* shell("sluice runs show begun")
        assert.include(
          shown.stdout,
          `begun with --save ${cwd}/bodies --output ${cwd}/out.ndjson --concurrency 5 --per-host 3\n`
        )

        fs.rmSync(join(cwd, "bodies"), { recursive: true })
        const gone = yield* shell("sluice fetch --run begun --again")
        assert.strictEqual(gone.code, 2)
        assert.include(gone.stderr, `run begun keeps its bodies below ${cwd}/bodies, which is not here`)
      }).pipe(Effect.scoped),
    60_000
  )

  it.effect("with its input, where that was not read to its end", () =>
    Effect.gen(function*() {
      const { askedFor, base } = yield* origin
      const cwd = yield* directory
      const running = yield* start("sluice fetch --run endless", cwd)
      running.child.stdin?.write(`${base}/1\n`)
      yield* askedFor(1)
      running.child.kill("SIGINT")
      const { stderr } = yield* running.ended
      assert.match(stderr, /The input was not read to its end. Go on with: sluice fetch --run endless -i -$/m)
    }).pipe(Effect.scoped), 60_000)

  it.effect("with its headers, which are not stored, or not at all", () =>
    Effect.gen(function*() {
      const { asked, base } = yield* origin
      const cwd = yield* directory
      const first = yield* shell(
        `sluice fetch --run secret -H "Authorization: Bearer it's" ${base}/secret/1 ${base}/404/2`,
        cwd
      )
      const line = "sluice fetch --run secret -H 'authorization: ...' --retry-failed"
      assert.strictEqual(first.code, 1)
      assert.include(first.stderr, `1 failed: ${line}\n`)
      const without = yield* shell("sluice fetch --run secret --retry-failed", cwd)
      assert.deepStrictEqual([without.code, asked.length], [2, 2])
      assert.strictEqual(
        without.stderr,
        "sluice: run secret was begun with the header authorization, and values are not kept: give it again, or do without " +
          `by --forget authorization\n  ${line}\n`
      )
      const pasted = line.replace("...'", "Bearer '\"it's\"")
      const second = yield* shell(`${pasted.replace("--retry-failed", "--again")} --host 127.0.0.1:1`, cwd)
      assert.strictEqual(second.code, 1, second.stderr)
      assert.strictEqual(asked.length, 2, "none is of that host")
      const third = yield* shell(pasted.replace("--retry-failed", "--again"), cwd)
      assert.strictEqual(linesOf(third.stdout).filter((one) => JSON.parse(one).ok === true).length, 1, third.stderr)
      const free = yield* shell("sluice fetch --run secret --forget authorization --again --status 200", cwd)
      assert.strictEqual(JSON.parse(free.stdout).status, 401, "without it, on purpose")
      assert.include(free.stderr, "2 failed: sluice fetch --run secret --retry-failed\n")
    }).pipe(Effect.scoped), 60_000)

  it.effect("by status: what is shown, and what is fetched again", () =>
    Effect.gen(function*() {
      const { asked, base } = yield* origin
      yield* shell(`sluice fetch --run status --retries 0 ${base}/404/a ${base}/404/b ${base}/503/c ${base}/d`)
      asked.splice(0)
      const shown = yield* shell("sluice runs show status --status 4xx")
      assert.deepStrictEqual(linesOf(shown.stdout).sort(), [
        `StatusError  status 404  ${base}/404/a`,
        `StatusError  status 404  ${base}/404/b`
      ])
      yield* shell("sluice fetch --run status --retry-failed --status 503")
      assert.deepStrictEqual(asked, ["/503/c"], "once: it remembers --retries 0")
      for (
        const [line, problem] of [
          ["fetch --run status --status 404", "--tag, --host and --status say what --retry-failed or --again is about"],
          ["fetch --run status --again --retry-failed", "choose"],
          ["fetch --run status --again --status 6xx", "a status such as 404, or a class of them such as 5xx"],
          ["fetch --again http://127.0.0.1:1/", "need a run that is known"],
          ["runs show nosuch", "there is no run named \"nosuch\"; `sluice runs` lists them"]
        ] as const
      ) {
        const { code, stderr } = yield* shell(`sluice ${line}`)
        assert.deepStrictEqual([code, stderr.includes(problem)], [2, true], stderr)
      }
    }).pipe(Effect.scoped), 60_000)

  /** A file system of its own with this much room, where this user may mount one. */
  const smallDisk = Effect.fnUntraced(function*(size: string) {
    const path = yield* directory
    const mounted = bash(`mount -t tmpfs -o size=${size} tmpfs ${path}`)
    if (mounted.status !== 0) return undefined
    yield* Effect.addFinalizer(() => Effect.sync(() => bash(`umount ${path}`)))
    return path
  })

  it.effect(
    "when its disk was full or read-only: it stops, the rest stays pending, and it goes on with more room",
    () =>
      Effect.gen(function*() {
        const disk = yield* smallDisk("200k")
        if (disk === undefined) return
        const { asked, base } = yield* origin
        fs.writeFileSync(join(disk, "ballast"), Buffer.alloc(80_000))
        const cwd = yield* directory
        fs.writeFileSync(join(cwd, "list"), numbers(400).map((n) => `${base}/${n}`).join("\n"))
        const full = yield* shell(`sluice fetch -i list --run full --save ${disk}/bodies -c 4 --per-host 4`, cwd)
        assert.strictEqual(full.code, 3, full.stderr)
        assert.match(full.stderr, /^sluice: cannot save the body to \S+: the disk is full \(ENOSPC\)$/m)
        const saved = linesOf(full.stdout).length
        assert.isAbove(saved, 0)
        assert.isBelow(asked.length, saved + 20, "what cannot be kept is not fetched")
        assert.include(
          (yield* shell("sluice runs show full")).stdout,
          `${saved} done, 0 failed, ${400 - saved} pending`
        )
        const before = asked.length
        fs.writeFileSync(join(disk, "rest"), "")
        bash(`cat /dev/zero > ${disk}/rest`)
        const still = yield* shell(hint(full.stderr), cwd)
        assert.deepStrictEqual([still.code, asked.length], [3, before], "found before the first request")
        bash(`mount -o remount,ro ${disk}`)
        const readOnly = yield* shell(hint(full.stderr), cwd)
        assert.deepStrictEqual([readOnly.code, asked.length], [3, before])
        assert.match(readOnly.stderr, /^sluice: cannot save bodies to \S+: the file system is read-only \(EROFS\)$/m)
        bash(`mount -o remount,rw,size=8m ${disk}`)
        fs.rmSync(join(disk, "rest"))
        const rest = yield* shell(hint(full.stderr), cwd)
        assert.strictEqual(rest.code, 0, rest.stderr)
        const host = fs.readdirSync(join(disk, "bodies"))[0] ?? ""
        assert.strictEqual(fs.readdirSync(join(disk, "bodies", host)).length, 400)
      }).pipe(Effect.scoped),
    120_000
  )

  it.effect("not begun where no body can be kept", () =>
    Effect.gen(function*() {
      const { asked, base } = yield* origin
      const { code, stderr } = yield* shell(`sluice fetch --run nowhere --save /proc/x ${base}/1`)
      assert.deepStrictEqual([code, asked], [3, []])
      assert.strictEqual(stderr, "sluice: cannot save bodies to /proc/x: there is no such directory (ENOENT)\n")
      assert.strictEqual((yield* shell("sluice runs show nowhere")).code, 2)
    }).pipe(Effect.scoped), 60_000)

  it.effect("until it is removed; a list of runs says when there are more", () =>
    Effect.gen(function*() {
      const { askedFor, base } = yield* origin
      const cwd = yield* directory
      for (const name of ["one", "two", "three"]) {
        yield* shell(`sluice fetch --run ${name} --save b ${base}/${name}`, cwd)
      }
      const listed = yield* shell("sluice runs -n 2")
      assert.strictEqual(linesOf(listed.stdout).length, 3)
      assert.strictEqual(listed.stderr, "there are more: sluice runs -n 20\n")
      const removed = yield* shell("sluice runs rm one two")
      assert.strictEqual(
        removed.stderr,
        ["one", "two"].map((name) => `removed run ${name} (1 URL); what it has written stays: ${cwd}/b\n`).join("")
      )
      assert.strictEqual(fs.readdirSync(join(cwd, "b", fs.readdirSync(join(cwd, "b"))[0] ?? "")).length, 3)
      const missing = yield* shell("sluice runs rm one")
      assert.deepStrictEqual([missing.code, missing.stderr.includes("there is no run named \"one\"")], [2, true])

      const busy = yield* start(
        `sluice fetch --run busy -c 1 ${numbers(300).map((n) => `${base}/x${n}`).join(" ")}`,
        cwd
      )
      yield* askedFor(5)
      const refused = yield* shell("sluice runs rm busy")
      assert.deepStrictEqual([refused.code, refused.stderr], [
        2,
        "sluice: run busy is worked on by a process now: end it first, or take it away all the same: sluice runs rm --force busy\n"
      ])
      assert.strictEqual((yield* shell("sluice runs rm --force busy")).code, 0)
      const ended = yield* busy.ended
      assert.strictEqual(ended.code, 3)
      assert.include(ended.stderr, "sluice: run busy was removed while this process worked on it\n")

      const young = yield* shell("sluice runs prune --older 30d")
      assert.strictEqual(young.stderr, "0 runs removed; saved bodies and outcome files stay\n")
      const dry = yield* shell("sluice runs prune --older 1ms --dry-run")
      assert.match(dry.stderr, /^\d+ runs would be removed/)
      assert.match(dry.stdout, /^three /m)
      const pruned = yield* shell("sluice runs prune --older 1ms")
      assert.match(pruned.stderr, /^removed run three \(1 URL\)$/m)
      assert.strictEqual((yield* shell("sluice runs")).stdout, "no runs yet: sluice fetch makes one\n")
    }).pipe(Effect.scoped), 120_000)

  it.effect(
    "a dry run sends nothing, records nothing, and needs no database but for a run",
    () =>
      Effect.gen(function*() {
        const { asked, base } = yield* origin
        const cwd = yield* directory
        fs.writeFileSync(join(cwd, "list"), `${base}/1\n${base}/1\noops\n`)
        const away = "DATABASE_URL=postgres://127.0.0.1:1/none"
        const dry = yield* shell(`${away} sluice fetch -i list --dry-run --save bodies -o out.ndjson`, cwd)
        assert.deepStrictEqual([dry.code, dry.stdout], [2, ""], dry.stderr)
        assert.include(dry.stderr, "list:3: ")
        assert.include(dry.stderr, "would fetch 1 URL of 1 host\n")
        const right = yield* shell(`${away} sluice fetch ${base}/1 --dry-run`, cwd)
        assert.strictEqual(right.code, 0, right.stderr)
        assert.deepStrictEqual([asked, fs.readdirSync(cwd)], [[], ["list"]])

        const without = yield* shell(`${away} sluice fetch ${base}/1 --dry-run --run dry`, cwd)
        assert.strictEqual(without.code, 3, without.stderr)
        const fresh = yield* shell(`sluice fetch ${base}/1 --dry-run --run dry`, cwd)
        assert.strictEqual(fresh.code, 0, fresh.stderr)
        assert.strictEqual((yield* shell("sluice runs show dry")).code, 2)
        yield* shell(`sluice fetch ${base}/1 --run dry`, cwd)
        const known = yield* shell(`sluice fetch ${base}/1 ${base}/2 --dry-run --run dry --again`, cwd)
        assert.include(known.stderr, "would fetch 1 URL of 1 host\n")
        assert.include(known.stderr, "and 1 URL of run dry again\n1 line of the input known to run dry already\n")
        assert.deepStrictEqual(asked, ["/1"])
      }).pipe(Effect.scoped),
    120_000
  )
})
