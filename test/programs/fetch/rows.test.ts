/**
 * What goes into `sluice fetch` and comes out of it, row by row: inputs, what is sent, what outcomes carry, how bodies are called.
 */
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import * as Origin from "../../support/fetch/Origin.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const program = join(import.meta.dirname, "../../../src/programs/bin/main.ts")

/** Tells what it was asked, as JSON. */
const echo = Origin.make((request, response) => {
  const chunks: Array<Buffer> = []
  request.on("data", (chunk: Buffer) => chunks.push(chunk))
  request.on("end", () => {
    response.setHeader("content-type", "application/json")
    response.end(
      JSON.stringify({ method: request.method, headers: request.headers, body: Buffer.concat(chunks).toString() })
    )
  })
})

const directory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "sluice-rows-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

/** Runs `sluice ...` to its end. */
const sluice = Effect.fnUntraced(function*(cwd: string, args: ReadonlyArray<string>) {
  const { url } = yield* TestDatabase.TestDatabase
  return yield* Effect.callback<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }>(
    (resume) => {
      const child = spawn(process.execPath, [program, ...args], {
        cwd,
        stdio: ["ignore", "pipe", "pipe"],
        env: { ...process.env, NODE_OPTIONS: "", DATABASE_URL: url, NO_COLOR: "1" }
      })
      let [stdout, stderr] = ["", ""]
      child.stdout.on("data", (chunk: Buffer) => void (stdout += chunk.toString()))
      child.stderr.on("data", (chunk: Buffer) => void (stderr += chunk.toString()))
      child.on("close", (code) => resume(Effect.succeed({ code, stdout, stderr })))
      return Effect.sync(() => child.kill("SIGKILL"))
    }
  )
})

/** The outcomes of a text of NDJSON, by `id`. */
const byId = (text: string) =>
  new Map<unknown, Record<string, unknown>>(
    text.trim().split("\n").map((line) => JSON.parse(line)).map((outcome) => [outcome.id, outcome])
  )

layer(TestDatabase.layer, { excludeTestServices: true })("rows of sluice fetch", (it) => {
  it.effect("are joined to their inputs, of which there may be several, also when the run goes on", () =>
    Effect.gen(function*() {
      const { url } = yield* echo
      const cwd = yield* directory
      const page = `${url}/page`
      writeFileSync(
        join(cwd, "a.ndjson"),
        [
          { url: page, id: "de", headers: { "accept-language": "de" }, country: "DE", note: "x" },
          { url: page, id: "fr", headers: { "Accept-Language": "fr" } },
          { url: page, id: "fr2", headers: { "accept-language": "fr" } },
          { url: page, id: 4, json: { q: [1] } },
          { url: page, id: 5, bdy: "x" }
        ].map((line) => JSON.stringify(line)).join("\n")
      )
      writeFileSync(join(cwd, "b"), gzipSync(`id;URL;country\n7;${page}?b;"A;T"\n`))
      const args = ["fetch", "--run", "rows", "--keep", "country", "-i", "a.ndjson", "-i", "b"]
      const { code, stderr, stdout } = yield* sluice(cwd, args)
      assert.strictEqual(code, 1)
      assert.include(stderr, "a.ndjson:5: \"bdy\" is no field of a request; did you mean \"body\"?")
      assert.include(stderr, "1 line of the input repeat others")
      assert.notInclude(stderr, "known to run")
      const rows = Array.from(
        byId(stdout),
        ([id, { input, line, method, source }]) => [id, method, source, line, input]
      )
      assert.deepStrictEqual(rows.toSorted((one, other) => String(one[0]).localeCompare(String(other[0]))), [
        [4, "POST", "a.ndjson", 4, null],
        ["7", "GET", "b", 2, { country: "A;T" }],
        ["de", "GET", "a.ndjson", 1, { country: "DE" }],
        ["fr", "GET", "a.ndjson", 2, null]
      ])
      const again = yield* sluice(cwd, args)
      assert.deepStrictEqual([again.stdout, again.code], ["", 1])
      assert.include(again.stderr, "5 lines of the input known to run rows already")
      const stored = yield* sluice(cwd, ["runs", "show", "rows", "--json"])
      assert.deepStrictEqual(byId(stored.stdout), byId(stdout), "the database has all of it")
    }).pipe(Effect.scoped))

  it.effect("send what flags and files say, and bodies are called as they say", () =>
    Effect.gen(function*() {
      const { url } = yield* echo
      const cwd = yield* directory
      writeFileSync(join(cwd, "headers"), "# ours\nX-One: 1\r\n\nX-Two:  2  \n")
      writeFileSync(join(cwd, "body"), "a=ü\n")
      writeFileSync(join(cwd, "list.csv"), `id,url\n1,${url}/x/\n2,${url}/x/?2\n..,${url}/y\n`)
      const { code, stderr, stdout } = yield* sluice(cwd, [
        ..."fetch -i list.csv -H @headers -A me/2 -u anna:se:cret --data @body".split(" "),
        ..."--save bodies --save-as all/{path}{ext}".split(" ")
      ])
      assert.strictEqual(code, 0, stderr)
      const saved = Array.from(byId(stdout).values(), ({ savedTo }) => String(savedTo))
      const names = saved.map((name) => name.slice(join(cwd, "bodies").length).replace(/[0-9a-f]{32}/, "DIGEST"))
      assert.deepStrictEqual(names.toSorted(), ["/all/x/index-DIGEST.json", "/all/x/index.json", "/all/y.json"])
      for (const name of saved) {
        const { body, headers, method } = JSON.parse(readFileSync(name, "utf8"))
        assert.deepStrictEqual([method, body, headers["x-one"], headers["x-two"], headers["user-agent"]], [
          "POST",
          "a=ü\n",
          "1",
          "2",
          "me/2"
        ])
        assert.strictEqual(headers["content-type"], "application/x-www-form-urlencoded")
        assert.strictEqual(headers["authorization"], `Basic ${Buffer.from("anna:se:cret").toString("base64")}`)
      }
      const other = yield* sluice(cwd, ["fetch", `${url}/z`, "-d", "{}", "-H", "Content-Type: a/b", "--save", "z"])
      const [row] = byId(other.stdout).values()
      assert.strictEqual(JSON.parse(readFileSync(String(row?.["savedTo"]), "utf8")).headers["content-type"], "a/b")
      assert.match(String(row?.["savedTo"]), /\/z-[0-9a-f]{32}\.json$/)
    }).pipe(Effect.scoped))

  it.effect("mistakes are named with what would be right", () =>
    Effect.gen(function*() {
      const cwd = yield* directory
      mkdirSync(join(cwd, "directory"))
      const one = "http://127.0.0.1:1/"
      const wrong: ReadonlyArray<readonly [args: ReadonlyArray<string>, code: number, says: string]> = [
        [["-i", "directory"], 2, "cannot read directory: it is a directory (EISDIR)"],
        [["-o", "no/dir/x", one], 3, "no/dir/x: there is no such directory (ENOENT)"],
        [["--save-as", "{foo}", "--save", "saved", one], 2, "or {input.NAME}: {foo} is no field"],
        [["--save-as", "{id}", one], 2, "add that"],
        [["-u", "hunter2", one], 2, "a name, a colon and a password"]
      ]
      yield* Effect.forEach(wrong, ([args, code, says]) =>
        Effect.map(sluice(cwd, ["fetch", ...args]), (ended) => {
          assert.strictEqual(ended.code, code, `${args.join(" ")}: ${ended.stderr}`)
          assert.include(ended.stderr, says)
          assert.notInclude(ended.stderr, "hunter2")
          assert.strictEqual(ended.stdout, "")
        }), { concurrency: 2 })
      assert.isFalse(existsSync(join(cwd, "saved")), "a wrong template makes no directory")
    }).pipe(Effect.scoped), 120_000)
})
