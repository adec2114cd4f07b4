/**
 * Every command and what may be wrong around it: its flags, its values, its environment, and whoever should take its output. What
 * holds for each: the exit code, and one line that says what is wrong.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as PgClient from "@effect/sql-pg/PgClient"
import { assert, describe, it, layer } from "@effect/vitest"
import { ConfigProvider, Effect, Exit } from "effect"
import * as Command from "effect/cli/Command"
import * as TestConsole from "effect/testing/TestConsole"
import { spawn } from "node:child_process"
import { openSync } from "node:fs"
import { createServer } from "node:http"
import { stripVTControlCharacters } from "node:util"
import { sluice } from "../../../src/programs/bin/Sluice.ts"
import * as Ending from "../../../src/programs/process/Ending.ts"
import * as Usage from "../../../src/programs/terminal/Usage.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

const isLong = process.env["SLUICE_LONG"] === "1"

/** Each command with arguments that are right, as far as they go. */
const commands = [
  "demo",
  "fetch http://127.0.0.1:1/",
  "runs",
  "runs show one",
  "runs rm one",
  "runs prune --older 30d",
  "serve --port 0",
  "work",
  "jobs ls",
  "jobs show 1",
  "jobs retry",
  "jobs cancel 1",
  "jobs dead",
  "jobs stats",
  "jobs pause demo",
  "jobs resume demo",
  "jobs run-now 1",
  "jobs priority 1 --to 5",
  "jobs reschedule 1 --in 10m",
  "jobs delete 1",
  "jobs rate demo 10/s",
  "jobs try",
  "orders seed",
  "orders load --orders 1",
  "orders audit",
  "migrate"
]

/** Runs a command here: with which code it would leave, and what it says on standard error. */
const run = (args: string, env: Record<string, string> = {}) =>
  Effect.gen(function*() {
    const exit = yield* Effect.exit(Command.runWith(sluice, { version: "0" })(args.split(" ")))
    const error = Exit.isFailure(exit) ? Exit.findErrorOption(exit) : undefined
    const told = error?._tag === "Some" ? Ending.describe(error.value) : undefined
    const said = (yield* TestConsole.errorLines).map(String)
    return {
      code: Ending.exitCode(exit),
      lines: [...said, ...(told === undefined ? [] : [told])].map(stripVTControlCharacters)
    }
  }).pipe(
    Effect.provide([
      NodeServices.layer,
      Usage.layer,
      TestConsole.layer,
      ConfigProvider.layer(ConfigProvider.fromUnknown(env))
    ])
  )

const namesOf = (command: Command.Command.Any, path: ReadonlyArray<string> = []): ReadonlyArray<string> =>
  command.subcommands.flatMap(({ commands }) =>
    commands.flatMap((child) => [[...path, child.name].join(" "), ...namesOf(child, [...path, child.name])])
  )

describe("every command", () => {
  it("is in the table", () => {
    for (const name of namesOf(sluice)) {
      assert.isTrue(commands.some((command) => command.startsWith(name)), name)
    }
  })

  it.live("refuses a flag that it does not have, before it does anything", () =>
    Effect.forEach(commands, (command) =>
      Effect.map(run(`${command} --frobnicate`), ({ code, lines }) => {
        assert.strictEqual(code, 2, command)
        assert.match(lines[0] ?? "", /^sluice: Unrecognized flag: --frobnicate/, command)
        assert.match(lines.at(-1) ?? "", /^what it takes: sluice( [\w-]+)* --help$/, command)
      }), { discard: true }))

  const values: ReadonlyArray<readonly [args: string, said: RegExp]> = [
    ["fetch -c 0 http://a.test", /--concurrency: "0". Expected: a whole number from 1 to 10,000/],
    ["fetch --rate 0 http://a.test", /--rate: "0". Expected: a number from 0.001/],
    ["fetch --retries -1 http://a.test", /--retries/],
    ["fetch --max-body 65536 http://a.test", /--max-body: "65536". Expected: a size such as 64KiB or 10MiB/],
    ["fetch --timeout 5 http://a.test", /--timeout: "5". Expected: a time such as 250ms, 10s or 2m/],
    ["fetch --run a --retry-failed --tag Foo", /--tag: "Foo". Expected: AttemptTimeout, BodyStoreError/],
    ["runs show one --tag Foo", /--tag: "Foo". Expected: AttemptTimeout, BodyStoreError/],
    ["serve --port 99999", /--port: "99999". Expected: a value between 0 and 65535/],
    ["serve --workers -3", /--workers: "-3"/],
    ["serve --picking xyz", /--picking: "xyz". Expected: a duration like 250ms, 10s or 2m/],
    ["work --only foo", /--only: "foo". Expected: "demo" \| "orders" \| "fetches"/],
    ["work -c 0", /--concurrency: "0"/],
    ["jobs show abc", /<id>: "abc". Expected: the id of a job, a whole number/],
    ["jobs cancel abc", /<id>: "abc". Expected: the id of a job/],
    ["jobs ls --state done", /--state: "done"/],
    ["jobs retry --reason bad", /--reason: "bad"/],
    ["jobs try -n -5", /--count: "-5". Expected: a value between 1 and 100000/],
    ["orders load --url notaurl", /--url: "notaurl". Expected: an address such as http/],
    ["jobs try --takes 600001", /--takes: "600001". Expected: a value between 0 and 600000/],
    ["orders seed --customers 0", /--customers: "0"/],
    ["orders seed --funds 0", /--funds: "0". Expected: a value between 1/],
    ["migrate now", /Unexpected positional argument: "now"/],
    ["fetsh", /Unknown subcommand "fetsh"[^]*fetch/]
  ]

  it.live("refuses a value that cannot be, and says what can", () =>
    Effect.forEach(values, ([args, expected]) =>
      Effect.map(run(args), ({ code, lines }) => {
        assert.strictEqual(code, 2, args)
        assert.match(lines[0] ?? "", expected, args)
      }), { discard: true }))

  const withDatabase = commands.filter((command) => !/^(demo|orders load)/.test(command))
  const environments: ReadonlyArray<readonly [env: Record<string, string>, said: RegExp]> = [
    [{ DATABASE_URL: "" }, /^sluice: DATABASE_URL should look like postgres:.*: it is set, and empty/],
    [
      { DATABASE_URL: "postgres://me@127.0.0.1:1/db" },
      /^sluice: the database at 127\.0\.0\.1:1\/db cannot be reached: .*$/
    ],
    [{ DATABASE_URL: "mysql://here" }, /^sluice: DATABASE_URL should look like postgres:.*: it begins with mysql:/],
    [{ SLUICE_POOL_MIN: "30", SLUICE_POOL_MAX: "2" }, /^sluice: SLUICE_POOL_MIN is "30": expected at most/],
    [{ SLUICE_STATEMENT_TIMEOUT: "soon" }, /^sluice: SLUICE_STATEMENT_TIMEOUT is "soon": expected a duration like/],
    [{ SLUICE_DATA_DIR: " " }, /^sluice: SLUICE_DATA_DIR is set, and empty: expected the path of a directory/]
  ]

  it.live("names a variable of the environment that is wrong", () =>
    Effect.forEach(
      withDatabase,
      (command) =>
        Effect.forEach(environments, ([env, expected]) =>
          Effect.map(run(command, env), ({ code, lines }) => {
            assert.strictEqual(lines.length, 1, `${command}: ${lines.join("\n")}`)
            assert.match(lines[0] ?? "", expected, command)
            assert.strictEqual(code, 3, command)
          }), { discard: true }),
      { discard: true }
    ))

  it.live("says that what answers there is no Postgres", () =>
    Effect.gen(function*() {
      const server = createServer((_, response) => response.end("hello"))
      yield* Effect.acquireRelease(
        Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
        () => Effect.sync(() => server.close())
      )
      const address = server.address()
      const port = typeof address === "object" && address !== null ? address.port : 0
      const { code, lines } = yield* run("runs", { DATABASE_URL: `postgres://me@127.0.0.1:${port}/db` })
      assert.match(lines.join("\n"), /^sluice: what answers at 127\.0\.0\.1:\d+\/db is no Postgres/)
      assert.strictEqual(code, 3)
    }).pipe(Effect.scoped))
})

const program = new URL("../../../src/programs/bin/main.ts", import.meta.url).pathname

interface Ended {
  readonly code: number | string
  readonly said: string
}

/** Runs a command as a process whose standard output is full, or read by nobody. */
const into = (output: "full" | "closed", args: string, env: Record<string, string>) =>
  Effect.callback<Ended>((resume) => {
    const child = spawn(process.execPath, [program, ...args.split(" ")], {
      stdio: ["ignore", output === "full" ? openSync("/dev/full", "w") : "pipe", "pipe"],
      env: { ...process.env, NODE_OPTIONS: "", NO_COLOR: "1", ...env }
    })
    child.stdout?.destroy()
    let said = ""
    child.stderr?.on("data", (chunk) => said += String(chunk))
    child.on("close", (code, signal) => resume(Effect.succeed({ code: signal ?? code ?? "?", said })))
    return Effect.sync(() => child.kill("SIGKILL"))
  })

/** What prints, and ends by itself. */
const printing = [
  "--help",
  "fetch --help",
  "--version",
  "--completions bash",
  "runs",
  "runs --json",
  "runs show swept",
  "runs show swept --json",
  "jobs ls",
  "jobs stats --json",
  "jobs try",
  "jobs pause demo",
  "orders seed --customers 1 --products 1",
  "orders audit",
  "migrate"
]

layer(TestDatabase.layer, { excludeTestServices: true })("on a database", (it) => {
  const origin = Effect.acquireRelease(
    Effect.callback<{ readonly base: string; readonly close: () => void }>((resume) => {
      const server = createServer((_, response) => response.end("hello"))
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        const port = typeof address === "object" && address !== null ? address.port : 0
        resume(Effect.succeed({ base: `http://127.0.0.1:${port}`, close: () => void server.close() }))
      })
    }),
    ({ close }) => Effect.sync(close)
  )

  it.effect("names one of its own", () =>
    Effect.flatMap(TestDatabase.TestDatabase, ({ url }) =>
      Effect.forEach(
        [
          [
            "serve",
            { PORT: "http" },
            /^sluice: PORT is "http": expected a whole number from 0 to 65,535, such as 3000$/
          ],
          ["serve", { SLUICE_API_TOKEN: "" }, /^sluice: SLUICE_API_TOKEN is set, and empty: expected a token/],
          [
            "serve",
            { SLUICE_MAX_BODY_BYTES: "big" },
            /^sluice: SLUICE_MAX_BODY_BYTES is "big": expected a size from 1B/
          ],
          ["serve", { SLUICE_REQUEST_DEADLINE: "30" }, /^sluice: SLUICE_REQUEST_DEADLINE is "30": expected a duration/]
        ] as const,
        ([command, env, expected]) =>
          Effect.map(run(command, { DATABASE_URL: url, ...env }), ({ code, lines }) => {
            assert.match(lines.at(-1) ?? "", expected)
            assert.strictEqual(code, 3)
          }),
        { discard: true }
      )))

  it.effect(
    "what is printed on a full disk is no success; a reader that has gone is no failure of what has done all it was asked for",
    () =>
      Effect.gen(function*() {
        const { url } = yield* TestDatabase.TestDatabase
        const { base } = yield* origin
        const env = { DATABASE_URL: url }
        const fetched = yield* into("full", `fetch ${base}/a ${base}/b --run swept`, env)
        assert.match(fetched.said, /^sluice: cannot write standard output: the disk is full \(ENOSPC\)$/m)
        assert.strictEqual(fetched.code, 3)
        const unread = yield* into("closed", `fetch ${base}/c --run swept`, env)
        assert.strictEqual(unread.code, 0, unread.said)
        const all = printing.flatMap((args) => [[args, "full"], [args, "closed"]] as const)
        yield* Effect.forEach(
          isLong ? all : all.filter((_, index) => index % 5 === 0),
          ([args, output]) =>
            Effect.map(into(output, args, env), ({ code, said }) => {
              assert.notMatch(said, /^\s+at /m, args)
              if (output === "full") {
                assert.strictEqual(said, "sluice: cannot write standard output: the disk is full (ENOSPC)\n", args)
                assert.strictEqual(code, 3, args)
              } else {
                assert.strictEqual(said, "", args)
                assert.strictEqual(code, 0, args)
              }
            }),
          { concurrency: 2, discard: true }
        )
        assert.isAbove((yield* PgClient.PgClient.use((sql) => sql`select 1 from sluice.fetch_url`)).length, 0)
      }).pipe(Effect.scoped),
    300_000
  )
})
