/** Each error that a command can fail with has the exit code that the README gives for it. */
import { assert, it } from "@effect/vitest"
import { Config, ConfigProvider, Exit, PlatformError, Runtime } from "effect"
import * as CliError from "effect/cli/CliError"
import type { Command } from "effect/cli/Command"
import { ServeError } from "effect/http/HttpServerError"
import { readFileSync } from "node:fs"
import { DatabaseError, Unreachable } from "../../../src/layers/postgres/DatabaseError.ts"
import type { sluice } from "../../../src/programs/bin/Sluice.ts"
import { SceneFailed } from "../../../src/programs/demo/Scene.ts"
import { MalformedInput } from "../../../src/programs/fetch/DryRun.ts"
import { EmptyInput } from "../../../src/programs/fetch/FetchRun.ts"
import { OutputGone, RunIncomplete } from "../../../src/programs/fetch/RunReport.ts"
import { UsageError } from "../../../src/programs/fetch/UsageError.ts"
import { JobsUnchanged } from "../../../src/programs/jobs/Changes.ts"
import { QueueUnknown } from "../../../src/programs/jobs/KnownQueue.ts"
import { BooksUnsound } from "../../../src/programs/orders/Command.ts"
import { LoadRefused, ServerUnreachable } from "../../../src/programs/orders/Load.ts"
import { SeedRefused } from "../../../src/programs/orders/Seed.ts"
import * as Ending from "../../../src/programs/process/Ending.ts"
import { CannotListen, HostNeedsToken } from "../../../src/programs/serve/Server.ts"
import { OutputError } from "../../../src/programs/terminal/OutputError.ts"
import { BodyStoreError } from "../../../src/services/fetch/FetchError.ts"
import { FrontierError, RunNotFound } from "../../../src/services/fetch/Frontier.ts"
import {
  JobHeldBack,
  JobNotFound,
  JobOptionInvalid,
  JobPayloadInvalid,
  JobQueueError
} from "../../../src/services/jobs/JobError.ts"
import { OrdersStoreError } from "../../../src/services/orders/OrdersError.ts"
import { ExitCode } from "../../../src/services/tasks/ExitCode.ts"

type ErrorOf<C> = C extends Command<infer _Name, infer _Input, infer _Context, infer E, infer _R> ? E : never

/** Whatever a command fails with; what the parser of the command line says is told apart below. */
type Failure = Exclude<ErrorOf<typeof sluice>, CliError.CliError>

const { environment, outputGone, someFailed, usage } = ExitCode

const cause = new Error("broken")

/** Exhaustive: a new kind of failure does not compile before it has a row. */
const rows: { readonly [Tag in Failure["_tag"]]: readonly [Extract<Failure, { readonly _tag: Tag }>, number] } = {
  BodyStoreError: [new BodyStoreError({ code: "ENOSPC", path: "/bodies", url: "" }), environment],
  BooksUnsound: [new BooksUnsound(), someFailed],
  CannotListen: [new CannotListen({ host: "::1", port: 80, code: "EACCES", cause }), environment],
  ConfigError: [new Config.ConfigError(new ConfigProvider.SourceError({ message: "cannot be read" })), environment],
  DatabaseError: [new DatabaseError({ reason: new Unreachable({ where: "there", detail: "refused" }) }), environment],
  EmptyInput: [new EmptyInput({ malformed: 0 }), usage],
  FrontierError: [new FrontierError({ operation: "pull", reason: "Unavailable", cause }), environment],
  HostNeedsToken: [new HostNeedsToken({ host: "0.0.0.0" }), usage],
  JobHeldBack: [new JobHeldBack({ id: "1" }), usage],
  JobNotFound: [new JobNotFound({ id: "1" }), usage],
  JobOptionInvalid: [new JobOptionInvalid({ where: "here", option: "limit", given: "0", expected: "more" }), usage],
  JobPayloadInvalid: [new JobPayloadInvalid({ kind: "demo", issue: "too long" }), usage],
  JobQueueError: [new JobQueueError({ operation: "insert", reason: "Unavailable", detail: "gone" }), environment],
  JobsUnchanged: [new JobsUnchanged({ count: 1, first: "1, it runs" }), someFailed],
  LoadRefused: [new LoadRefused({ status: 422, body: "no" }), someFailed],
  MalformedInput: [new MalformedInput({ malformed: 1 }), usage],
  OrdersStoreError: [new OrdersStoreError({ operation: "accept", reason: "TimedOut", cause }), environment],
  OutputError: [new OutputError({ file: "out", code: "ENOSPC" }), environment],
  OutputGone: [new OutputGone(), outputGone],
  QueueUnknown: [new QueueUnknown({ queue: "demos", known: ["demo"] }), usage],
  RunIncomplete: [new RunIncomplete({ name: "r", failed: 1, left: 0, malformed: 0 }), someFailed],
  RunNotFound: [new RunNotFound({ name: "r" }), usage],
  SceneFailed: [new SceneFailed({ title: "race", cause }), someFailed],
  SeedRefused: [new SeedRefused({ detail: "no" }), usage],
  ServeError: [new ServeError({ cause }), environment],
  ServerUnreachable: [new ServerUnreachable({ url: "http://there" }), environment],
  UsageError: [new UsageError({ problem: "nothing to fetch" }), usage]
}

it("every failure of a command leaves with its code", () => {
  for (const [error, code] of Object.values(rows)) {
    assert.strictEqual(Ending.exitCode(Exit.fail(error)), code, error._tag)
  }
})

it("a scene of the demo leaves with the code of what went wrong in it", () => {
  const full = PlatformError.systemError({ _tag: "WriteZero", module: "FileSystem", method: "write" })
  for (
    const [wrong, code] of [[full, environment], [new RunNotFound({ name: "r" }), usage], [cause, someFailed]] as const
  ) {
    assert.strictEqual(Ending.exitCode(Exit.fail(new SceneFailed({ title: "race", cause: wrong }))), code)
  }
})

it("help is no failure, and a command line that is wrong is one of usage", () => {
  const asked = new CliError.ShowHelp({ commandPath: ["sluice"], errors: [] })
  const wrong = new CliError.UnrecognizedOption({ option: "--prot", suggestions: [] })
  assert.strictEqual(Ending.exitCode(Exit.fail(asked)), ExitCode.ok)
  assert.strictEqual(Ending.exitCode(Exit.fail(wrong)), usage)
  assert.strictEqual(Ending.exitCode(Exit.fail(new CliError.ShowHelp({ commandPath: [], errors: [wrong] }))), usage)
})

it("an exit code is not part of an error's data", () => {
  assert.notInclude(JSON.stringify(rows.BodyStoreError[0]), Runtime.errorExitCode)
  assert.deepStrictEqual(new RunNotFound({ name: "r" }), new RunNotFound({ name: "r" }))
})

it("the README gives every code", () => {
  const readme = readFileSync(new URL("../../../README.md", import.meta.url), "utf8")
  const told = [...readme.matchAll(/^\| (\d+) +\| \S/gm)].map(([, code]) => Number(code))
  assert.deepStrictEqual(told, [...Object.values(ExitCode), 130, 143].toSorted((a, b) => a - b))
})
