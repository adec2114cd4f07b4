/**
 * `sluice fetch` as people run it: real processes, real sockets, a real database.
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, layer } from "@effect/vitest"
import { Deferred, Effect, type Scope, Stream } from "effect"
import { spawn } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as PostgresFrontier from "../../../src/layers/fetch/PostgresFrontier.ts"
import { Frontier } from "../../../src/services/fetch/Frontier.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const isLong = process.env["SLUICE_LONG"] === "1"
const program = join(import.meta.dirname, "../../../scripts/sluice.mjs")

/** A server on every address of 127.0.0.0/8: `/delay/N/...` answers after N ms, `/404/...` with 404. */
const origin = Effect.acquireRelease(
  Effect.callback<ReturnType<typeof makeOrigin>>((resume) => {
    const made = makeOrigin()
    made.server.listen(0, "0.0.0.0", () => resume(Effect.succeed(made)))
  }),
  ({ server }) =>
    Effect.callback<void>((resume) => {
      server.close(() => resume(Effect.void))
      server.closeAllConnections()
    })
)

const makeOrigin = () => {
  const hits = new Map<string, number>()
  const asked: Array<string> = []
  const headers: Array<string | undefined> = []
  const inFlight = new Map<string, number>()
  const counts = { inFlightMax: 0 }
  /** The first answer of `/throttle/N`: 429 with so many seconds of Retry-After; then 200. */
  const throttled = new Set<string>()
  const server = createServer((request, response) => {
    const host = request.headers.host ?? ""
    const url = `http://${host}${request.url}`
    asked.push(url)
    hits.set(url, (hits.get(url) ?? 0) + 1)
    headers.push(request.headers["x-test"]?.toString())
    const now = (inFlight.get(host) ?? 0) + 1
    inFlight.set(host, now)
    counts.inFlightMax = Math.max(counts.inFlightMax, now)
    response.on("close", () => inFlight.set(host, (inFlight.get(host) ?? 1) - 1))
    if (request.url?.startsWith("/404/") === true) response.statusCode = 404
    const seconds = /^\/throttle\/(\d+)/.exec(request.url ?? "")?.[1]
    if (seconds !== undefined && !throttled.has(url)) {
      throttled.add(url)
      response.writeHead(429, { "retry-after": seconds })
    }
    const body = request.url === "/robots.txt" ? "User-agent: *\nDisallow: /private/\n" : "hello"
    const delayMillis = Number(/^\/delay\/(\d+)/.exec(request.url ?? "")?.[1] ?? 0)
    setTimeout(() => response.end(body), delayMillis)
  })
  const port = () => {
    const address = server.address()
    return typeof address === "object" && address !== null ? address.port : 0
  }
  return {
    server,
    hits,
    asked,
    headers,
    counts,
    at: (path: string, host = "127.0.0.1") => `http://${host}:${port()}${path}`
  }
}

interface Running {
  readonly signal: (signal: NodeJS.Signals) => void
  /** Ends when so many lines of outcomes have been printed. */
  readonly printed: (count: number) => Effect.Effect<void>
  readonly ended: Effect.Effect<Ended>
}

interface Ended {
  readonly code: number | string
  readonly urls: ReadonlyArray<string>
  readonly stdout: string
  readonly stderr: string
}

/** Starts `sluice ...`; killed when the scope closes. */
const start = (
  args: ReadonlyArray<string>,
  options: { readonly stdin?: string | undefined; readonly env?: Record<string, string>; readonly cwd?: string } = {}
): Effect.Effect<Running, never, Scope.Scope | TestDatabase.TestDatabase> =>
  Effect.gen(function*() {
    const { url } = yield* TestDatabase.TestDatabase
    const child = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn(process.execPath, [program, ...args], {
          stdio: [options.stdin === undefined ? "ignore" : "pipe", "pipe", "pipe"],
          cwd: options.cwd,
          env: {
            ...process.env,
            NODE_OPTIONS: "",
            DATABASE_URL: url,
            NO_COLOR: "1",
            // A machine that is busy with other tests would have its say among the lines.
            SLUICE_LOOP_THRESHOLD: "0",
            ...options.env
          }
        })
      ),
      (child) => Effect.sync(() => child.kill("SIGKILL"))
    )
    child.stdin?.on("error", () => {})
    child.stdin?.end(options.stdin)
    let stdout = ""
    let stderr = ""
    let lines = 0
    const waiting: Array<readonly [count: number, deferred: Deferred.Deferred<void>]> = []
    const look = () => {
      for (const [count, deferred] of waiting) if (lines >= count) Deferred.doneUnsafe(deferred, Effect.void)
    }
    child.stdout?.on("data", (chunk: Buffer) => {
      const text = chunk.toString()
      stdout += text
      lines += text.split("\n").length - 1
      look()
    })
    child.stderr?.on("data", (chunk: Buffer) => {
      stderr += chunk.toString()
    })
    const ended = Deferred.makeUnsafe<Ended>()
    child.on("close", (code, signal) => {
      const urls = stdout.split("\n").filter((line) => line.startsWith("{")).map((line): string => JSON.parse(line).url)
      Deferred.doneUnsafe(ended, Effect.succeed({ code: signal ?? code ?? "?", urls, stdout, stderr }))
      lines = Infinity
      look()
    })
    return {
      signal: (signal) => void child.kill(signal),
      printed: (count) =>
        Effect.suspend(() => {
          const deferred = Deferred.makeUnsafe<void>()
          waiting.push([count, deferred])
          look()
          return Deferred.await(deferred)
        }),
      ended: Deferred.await(ended)
    }
  })

const sluice = (args: ReadonlyArray<string>, options: Parameters<typeof start>[1] = {}) =>
  Effect.scoped(Effect.flatMap(start(args, options), ({ ended }) => ended))

const directory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "sluice-cli-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

const frontier = Effect.provide(Frontier, PostgresFrontier.layer)

const recorded = (run: string) =>
  Effect.flatMap(
    frontier,
    ({ outcomes }) => Effect.map(Stream.runCollect(outcomes(run)), (all) => all.map(({ url }) => url))
  )

const counts = (run: string) => Effect.flatMap(frontier, ({ find }) => Effect.map(find(run), ({ counts }) => counts))

const numbers = (count: number) => Array.from({ length: count }, (_, n) => n)

layer(TestDatabase.layer, { excludeTestServices: true })("sluice fetch", (it) => {
  it.effect("prints an outcome a URL on a pipe, names malformed lines, and exits 1 when something failed", () =>
    Effect.gen(function*() {
      const { at, headers } = yield* origin
      const path = join(yield* directory, "list.txt")
      writeFileSync(path, `# list\n${at("/a")}\nnonsense\n\n{"url":"${at("/404/b")}"}\n`)
      const { code, stderr, stdout } = yield* sluice([
        "fetch",
        "-i",
        path,
        at("/c"),
        "--run",
        "pipe",
        "-H",
        "X-Test: yes"
      ])
      const outcomes = stdout.trim().split("\n").map((line) => JSON.parse(line))
      assert.deepStrictEqual(
        outcomes.map(({ error, ok, status, url }) => [url, ok, status, error?._tag ?? null]).toSorted((a, b) =>
          String(a).localeCompare(String(b))
        ),
        [[at("/404/b"), false, 404, "StatusError"], [at("/a"), true, 200, null], [at("/c"), true, 200, null]]
      )
      assert.deepStrictEqual(Object.keys(outcomes[0]), [
        "url",
        "method",
        "id",
        "source",
        "line",
        "input",
        "finalUrl",
        "ok",
        "status",
        "attempts",
        "bytes",
        "sha256",
        "contentType",
        "startedAt",
        "durationMs",
        "savedTo",
        "error"
      ])
      assert.include(stderr, `${path}:3: "nonsense": not an absolute URL`)
      assert.include(stderr, "1 failed: sluice fetch --run pipe -H 'x-test: ...' --retry-failed")
      assert.deepStrictEqual(headers, ["yes", "yes", "yes"])
      assert.strictEqual(code, 1)
      const stored = yield* PgClient.PgClient.use((sql) =>
        sql`select request from sluice.fetch_url where request is not null`
      )
      assert.deepStrictEqual(stored, [], "headers of the command line are not stored")
    }).pipe(Effect.scoped))

  it.effect("reads standard input, writes files, saves bodies, and exits 0 when every URL succeeded", () =>
    Effect.gen(function*() {
      const { at } = yield* origin
      const cwd = yield* directory
      const stdin = `url\n${at("/a")}\n${at("/b")}\n`
      const csv = yield* sluice(["fetch", "-o", "out.csv", "--save", "bodies"], { stdin, cwd })
      assert.deepStrictEqual([csv.code, csv.stdout], [0, ""])
      const rows = readFileSync(join(cwd, "out.csv"), "utf8").trim().split("\r\n")
      assert.strictEqual(rows.length, 3)
      const [, row = ""] = rows
      assert.strictEqual(readFileSync(row.split(",")[15] ?? "", "utf8"), "hello", "where the row says")
    }).pipe(Effect.scoped))

  it.effect("says nothing when it is told to be quiet, but what went wrong", () =>
    Effect.gen(function*() {
      const { at } = yield* origin
      const fine = yield* sluice(["fetch", "-q", at("/q")])
      assert.deepStrictEqual([fine.code, fine.stderr, fine.urls], [0, "", [at("/q")]])
      const wrong = yield* sluice(["fetch", "--quiet", "--run", "quiet", at("/404/q")])
      assert.strictEqual(wrong.code, 1)
      assert.match(wrong.stderr, /^run quiet: 1 URL in .* 1 StatusError\n1 failed: /)
    }).pipe(Effect.scoped))

  it.effect("goes on with a run: what is recorded is not fetched again, what failed is when asked", () =>
    Effect.gen(function*() {
      const { at, hits } = yield* origin
      const urls = [at("/1"), at("/404/2")]
      assert.strictEqual((yield* sluice(["fetch", "--run", "again", ...urls])).code, 1)
      const same = yield* sluice(["fetch", "--run", "again", ...urls])
      assert.deepStrictEqual([same.code, same.urls], [1, []], "one of it has failed, still")
      const more = yield* sluice(["fetch", "--run", "again", at("/3")])
      assert.deepStrictEqual(more.urls, [at("/3")])
      const retried = yield* sluice(["fetch", "--run", "again", "--retry-failed", "--tag", "StatusError"])
      assert.deepStrictEqual(retried.urls, [at("/404/2")])
      assert.deepStrictEqual([...hits.values()], [1, 2, 1])
      const shown = yield* sluice(["runs", "show", "again", "--failed"])
      assert.strictEqual(shown.stdout, `StatusError  status 404  ${at("/404/2")}\n`)
      assert.match((yield* sluice(["runs"])).stdout, /again +.* 2 +1\n/)
    }).pipe(Effect.scoped))

  it.effect("says what is wrong with the command line and exits 2, or with the environment and exits 3", () =>
    Effect.gen(function*() {
      const wrong: ReadonlyArray<readonly [ReadonlyArray<string>, RegExp, string?]> = [
        [["fetch", "--timeout", "3x", "http://a.test"], /--timeout.*"3x".*250ms, 10s or 2m/],
        [["fetch", "--max-body", "1 cup", "http://a.test"], /--max-body.*"1 cup".*64KiB or 10MiB/],
        [["fetch", "-c", "0", "http://a.test"], /--concurrency.*"0".*from 1/],
        [["fetch", "-H", "novalue", "http://a.test"], /--header.*"novalue".*Accept: text\/html/],
        [["fetch", "-i", "/nowhere/list"], /cannot read \/nowhere\/list: there is no such file/],
        [["fetch"], /the input is empty/, "# nothing\n"],
        [["fetch", "nonsense"], /its only line is malformed/],
        [["fetch", "--retry-failed", "--run", "unknown"], /a run that is known/],
        [["fetch", "--run", "hollow"], /the input is empty/, "\n"],
        [["runs", "show", "hollow"], /there is no run named "hollow"/],
        [["runs", "show", "unknown"], /there is no run named "unknown"/]
      ]
      yield* Effect.forEach(
        wrong,
        ([args, message, stdin]) =>
          Effect.map(sluice(args, { stdin: stdin ?? "" }), ({ code, stderr }) => {
            assert.strictEqual(code, 2, `${args.join(" ")}: ${stderr}`)
            assert.match(stderr, message)
          }),
        { concurrency: 3 }
      )
      const { runs } = yield* frontier
      assert.deepStrictEqual(
        (yield* runs()).filter(({ counts }) => counts.done + counts.failed + counts.pending === 0),
        [],
        "an empty input leaves no run behind"
      )
      const env = { DATABASE_URL: "postgres://nobody@127.0.0.1:1/none" }
      const { code, stderr } = yield* sluice(["fetch", "http://127.0.0.1:1/"], { env })
      assert.strictEqual(code, 3, stderr)
      const full = yield* sluice(["fetch", "http://127.0.0.1:1/", "-o", "/nowhere/out.ndjson"])
      assert.strictEqual(full.code, 3, full.stderr)
    }).pipe(Effect.scoped))

  it.effect("stops when its reader has seen enough, and says what is left", () =>
    Effect.gen(function*() {
      const { at, hits } = yield* origin
      const { url } = yield* TestDatabase.TestDatabase
      const stdin = numbers(20_000).map((n) => at(`/${n}`)).join("\n")
      let said = ""
      const code = yield* Effect.callback<number | null>((resume) => {
        const shell = spawn("bash", [
          "-c",
          `${process.execPath} ${program} fetch --run head | head -1; exit \${PIPESTATUS[0]}`
        ], {
          stdio: ["pipe", "ignore", "pipe"],
          env: { ...process.env, NODE_OPTIONS: "", DATABASE_URL: url, SLUICE_LOOP_THRESHOLD: "0" }
        })
        shell.stderr?.on("data", (chunk) => said += String(chunk))
        shell.stdin?.on("error", () => {})
        shell.stdin?.end(stdin)
        shell.on("close", (code) => resume(Effect.succeed(code)))
      })
      assert.strictEqual(code, 141)
      assert.match(
        said,
        /^its reader has gone; \d+ recorded here\.( The input was not read to its end\.)? Go on with: sluice fetch --run head/
      )
      assert.isBelow(hits.size, 20_000)
      assert.strictEqual((yield* counts("head")).leased, 0)
    }).pipe(Effect.scoped))

  it.effect("interrupted, does not wait for what is under way, has everything saved, and goes on", () =>
    Effect.gen(function*() {
      const { at } = yield* origin
      const urls = numbers(40).map((n) => at(`/delay/${n < 30 ? 20 : 300_000}/${n}`))
      const running = yield* start(["fetch", "--run", "int", "-c", "20", "--per-host", "20", ...urls])
      yield* running.printed(20)
      running.signal("SIGINT")
      // It does not wait for what takes five minutes to answer: then this would not end.
      const { code, stderr, urls: told } = yield* running.ended
      assert.strictEqual(code, 130)
      assert.include(stderr, "sluice fetch --run int")
      const stored = yield* recorded("int")
      assert.deepStrictEqual(told.toSorted(), stored.toSorted(), "what is recorded was told, and the other way round")
      assert.deepStrictEqual(yield* counts("int"), {
        pending: 40 - told.length,
        leased: 0,
        done: told.length,
        failed: 0,
        deferred: 0
      })
    }).pipe(Effect.scoped))

  it.effect(
    "killed at any moment, loses nothing and fetches nothing again that is recorded",
    () =>
      Effect.gen(function*() {
        const { at, hits } = yield* origin
        const loops = isLong ? 50 : 5
        const urls = numbers(loops * 30 + 60).map((n) => at(`/delay/${(n * 7) % 30}/${n}`, `127.0.0.${1 + n % 3}`))
        const stdin = urls.join("\n")
        const told: Array<string> = []
        for (let loop = 0; loop < loops; loop++) {
          const running = yield* start(["fetch", "-i", "-", "--run", "kill", "-c", "12"], { stdin })
          yield* running.printed(1 + (loop * 13) % 29)
          running.signal("SIGKILL")
          const { urls: printed } = yield* running.ended
          told.push(...printed)
          const stored = new Set(yield* recorded("kill"))
          const before = new Map(Array.from(stored, (url) => [url, hits.get(url)]))
          for (const url of printed) assert.isTrue(stored.has(url), "told only when recorded")
          if (loop === loops - 1) {
            const last = yield* sluice(["fetch", "-i", "-", "--run", "kill", "-c", "12"], { stdin })
            assert.strictEqual(last.code, 0, last.stderr)
            told.push(...last.urls)
          }
          for (const [url, count] of before) assert.strictEqual(hits.get(url), count, `${url} was fetched again`)
        }
        assert.strictEqual(new Set(told).size, told.length, "told once")
        assert.deepStrictEqual((yield* recorded("kill")).toSorted(), urls.toSorted())
        assert.deepStrictEqual(yield* counts("kill"), {
          pending: 0,
          leased: 0,
          done: urls.length,
          failed: 0,
          deferred: 0
        })
      }).pipe(Effect.scoped),
    isLong ? 600_000 : 180_000
  )

  it.effect("shares a run among processes and keeps the limit of a host across them", () =>
    Effect.gen(function*() {
      const { at, counts, hits } = yield* origin
      const urls = numbers(240).map((n) => at(`/delay/15/${n}`, `127.0.0.${1 + n % 12}`))
      const args = ["fetch", "--run", "two", "-c", "12", "--per-host", "3"]
      const first = yield* start([...args, "-i", "-"], { stdin: urls.join("\n") })
      yield* first.printed(1)
      const second = yield* start(args)
      const [one, two] = yield* Effect.all([first.ended, second.ended], { concurrency: 2 })
      assert.deepStrictEqual([one.code, two.code], [0, 0], one.stderr + two.stderr)
      assert.deepStrictEqual([...one.urls, ...two.urls].sort(), urls.toSorted())
      assert.isTrue([...hits.values()].every((count) => count === 1))
      assert.isAtMost(counts.inFlightMax, 3)
    }).pipe(Effect.scoped))

  it.effect("asks robots.txt and obeys it, when told to", () =>
    Effect.gen(function*() {
      const { at, hits } = yield* origin
      const urls = [at("/public/1"), at("/private/2")]
      const { code, stdout } = yield* sluice(["fetch", "--robots", "--run", "robots", ...urls])
      const outcomes = stdout.trim().split("\n").map((line) => JSON.parse(line))
      assert.deepStrictEqual(
        new Map(outcomes.map(({ error, url }) => [url, error?._tag ?? null])),
        new Map([[at("/public/1"), null], [at("/private/2"), "RobotsDisallowed"]])
      )
      assert.strictEqual(code, 1)
      assert.deepStrictEqual([hits.get(at("/robots.txt")), hits.get(at("/private/2"))], [1, undefined])
      const free = yield* sluice(["fetch", "--run", "robots", "--retry-failed"])
      assert.deepStrictEqual([free.code, hits.get(at("/private/2"))], [1, undefined], "as it was begun")
      const told = yield* sluice(["fetch", "--run", "robots", "--retry-failed", "--no-robots"])
      assert.deepStrictEqual([told.code, hits.get(at("/private/2"))], [0, 1], "not when told not to")
    }).pipe(Effect.scoped))

  it.effect(
    "keeps a host's block over a restart: a new process does not ask before it ends",
    () =>
      Effect.gen(function*() {
        const { asked, at } = yield* origin
        // Longer than any machine takes for the two processes; still one that a run waits for.
        const [shut, slow, left] = [at("/throttle/55/a"), at("/delay/300/b"), at("/left")]
        const others = numbers(10).map((n) => at(`/other/${n}`, "127.0.0.2"))
        const running = yield* start(["fetch", "--run", "block", shut, slow])
        yield* running.printed(1)
        running.signal("SIGINT")
        const first = yield* running.ended
        assert.deepStrictEqual([first.code, first.urls], [130, [slow]], first.stderr)
        const before = asked.length
        const second = yield* start(["fetch", "--run", "block", "--per-host", "1", left, ...others])
        yield* second.printed(others.length)
        second.signal("SIGINT")
        const { code, stderr, urls } = yield* second.ended
        assert.deepStrictEqual([code, urls.toSorted()], [130, others.toSorted()], stderr)
        // One after the other: there was time to ask the host that is shut as well.
        assert.deepStrictEqual(asked.slice(before), others, "the block was kept, and holds up no other")
        const sql = yield* PgClient.PgClient
        yield* sql`update sluice.fetch_host set state = null, shut_until = now()`
        const third = yield* sluice(["fetch", "--run", "block"])
        assert.deepStrictEqual([third.code, third.urls.toSorted()], [0, [left, shut].toSorted()], third.stderr)
      }).pipe(Effect.scoped),
    180_000
  )
})
