/** What a run remembers, and what becomes of it when flags are given later. */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Option, Result } from "effect"
import * as Command from "effect/cli/Command"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { flags, policyOf, type Values } from "../../../src/programs/fetch/Flags.ts"
import * as RunMemory from "../../../src/programs/fetch/RunMemory.ts"
import * as RunOptions from "../../../src/programs/fetch/RunOptions.ts"
import { CalledAs } from "../../../src/programs/terminal/CalledAs.ts"

/** What a command line says. */
const valuesOf = Effect.fnUntraced(function*(line: string) {
  const heard = yield* Deferred.make<Values>()
  const command = Command.make("fetch", flags, (values) => Effect.asVoid(Deferred.succeed(heard, values)))
  yield* Command.runWith(command, { version: "0" })(line === "" ? [] : line.split(" "))
  return yield* Deferred.await(heard)
})

const here = tmpdir()
const everything = `-o out.ndjson --save ${here} -c 100 --per-host 50 --rate 0.5 --per-host-rate 1 --timeout 90s ` +
  "--connect-timeout 1500ms --headers-timeout 120s --idle-timeout 1h --retries 0 --max-body 64KiB --method HEAD " +
  "--deny-private --robots --save-as {id}{ext} --keep a,b -A mine/1 --no-adaptive --block-max 1m --patience 30s " +
  "--retry-status 404,5XX --backoff 100ms --backoff-max 2s"

const recall = (before: RunOptions.RunOptions | undefined, line: string) =>
  Effect.flatMap(valuesOf(line), (values) => RunMemory.recall("it's", before, values)).pipe(
    Effect.provideService(CalledAs, "npm start -s --"),
    Effect.provide(NodeServices.layer)
  )

const policyOfLine = (line: string) => Effect.map(valuesOf(line).pipe(Effect.provide(NodeServices.layer)), policyOf)

/** What a run remembers of these flags, once it is written down and read again. */
const remembered = (line: string) =>
  Effect.flatMap(
    recall(undefined, line),
    ({ notes }) => Effect.fromResult(RunOptions.read("it's", JSON.parse(JSON.stringify(notes))))
  )

const begun = remembered(`${everything} -H authorization:secret -H x-y:z`)

/** For one invocation, or for what the run has already. */
const momentary = [
  "urls",
  "inputs",
  "run",
  "deadline",
  "headers",
  "user",
  "data",
  "retryFailed",
  "again",
  "tag",
  "host",
  "status",
  "forget",
  "dryRun",
  "json",
  "quiet"
]

describe("a run's memory", () => {
  it("every flag is remembered, or is for one invocation only", () => {
    assert.deepStrictEqual(Object.keys(flags).toSorted(), [...RunOptions.names, ...momentary].toSorted())
  })

  it.effect("has every flag that says how it is fetched or where it goes, and no secret", () =>
    Effect.gen(function*() {
      const { notes } = yield* recall(undefined, `${everything} -H Authorization:secret`)
      assert.deepStrictEqual(notes, {
        version: 1,
        headers: ["authorization"],
        output: resolve("out.ndjson"),
        save: here,
        concurrency: 100,
        perHost: 50,
        rate: 0.5,
        perHostRate: 1,
        timeout: "90s",
        connectTimeout: "1500ms",
        headersTimeout: "2m",
        idleTimeout: "1h",
        retries: 0,
        retryStatus: "404,5xx",
        backoff: "100ms",
        backoffMax: "2s",
        maxBody: "64KiB",
        method: "HEAD",
        denyPrivate: true,
        robots: true,
        saveAs: "{id}{ext}",
        keep: "a,b",
        userAgent: "mine/1",
        adaptive: false,
        blockMax: "1m",
        patience: "30s"
      })
      assert.deepStrictEqual((yield* recall(undefined, "")).notes, {}, "what is not said is not remembered")
    }))

  it.effect("is the default of flags that are not given: the same policy, the same places, the same line for all", () =>
    Effect.gen(function*() {
      const before = yield* remembered(everything)
      const { lines, notes, values } = yield* recall(before, "--deadline 1s")
      assert.deepStrictEqual(policyOf(values), yield* policyOfLine(everything))
      assert.deepStrictEqual([values.save, values.output, values.method], [
        Option.some(here),
        Option.some(resolve("out.ndjson")),
        Option.some("HEAD")
      ])
      assert.deepStrictEqual(values.deadline, Option.some(Duration.seconds(1)))
      assert.deepStrictEqual(notes, {}, "nothing is new")
      assert.deepStrictEqual(lines, [
        `run it's goes on as it was begun: --save ${here} --save-as '{id}{ext}' --keep a,b --output ${
          resolve("out.ndjson")
        } --concurrency 100 ` +
        "--per-host 50 --rate 0.5 --per-host-rate 1 --timeout 90s --connect-timeout 1500ms --headers-timeout 2m " +
        "--idle-timeout 1h --retries 0 --retry-status 404,5xx --backoff 100ms --backoff-max 2s --max-body 64KiB --method HEAD --user-agent mine/1 --no-adaptive --block-max 1m " +
        "--patience 30s --robots --deny-private"
      ])
    }))

  it.effect("the wait before retries is as given; the longest is at least the first", () =>
    Effect.gen(function*() {
      const retryOf = (line: string) => Effect.map(policyOfLine(line), ({ retry }) => retry)
      const { base, cap, statuses } = yield* retryOf("--backoff 2m --retry-status 404,5xx")
      assert.deepStrictEqual([base, cap], [Duration.minutes(2), Duration.minutes(2)])
      assert.deepStrictEqual(statuses, [{ least: 404, most: 404 }, { least: 500, most: 599 }])
      assert.deepStrictEqual((yield* retryOf("--backoff 1s")).cap, Duration.seconds(30))
      assert.deepStrictEqual((yield* retryOf("--backoff 2m --backoff-max 1m")).cap, Duration.minutes(1))
      const unsaid = yield* retryOf("")
      assert.deepStrictEqual([unsaid.base, unsaid.cap, unsaid.statuses], [
        Duration.millis(250),
        Duration.seconds(30),
        []
      ])
    }))

  it.effect.each(["404,", "200", "3xx", "6xx", "4x", "none"])(
    "%s is not what --retry-status takes",
    (statuses) =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(policyOfLine(`--retry-status ${statuses}`))
        assert.isTrue(Exit.isFailure(exit))
      })
  )

  it.effect("gives way to a flag that is given, remembers that instead, and says so", () =>
    Effect.gen(function*() {
      const before = yield* remembered("-c 100 --rate 1 --robots")
      const { lines, notes, values } = yield* recall(before, "-c 5 --no-robots --per-host 2 --forget rate")
      assert.deepStrictEqual(notes, { version: 1, concurrency: 5, robots: false, perHost: 2, rate: null })
      assert.deepStrictEqual(
        [policyOf(values).concurrency, policyOf(values).ratePerSecond, policyOf(values).robots],
        [5, Infinity, false]
      )
      assert.deepStrictEqual(lines, [
        "run it's from now on: --concurrency 5 (was 100), --per-host 2, no longer --rate 1, --no-robots (was --robots)"
      ])
    }))

  it.effect("does not go on without a header that it had, and says which line does", () =>
    Effect.gen(function*() {
      const before = yield* begun
      const line = "npm start -s -- fetch --run 'it'\\''s' -H 'authorization: ...' -H 'x-y: ...'"
      const refused = yield* Effect.flip(recall(before, "-H x-y:z --retry-failed"))
      assert.strictEqual(
        refused.message,
        "run it's was begun with the header authorization, and values are not kept: give it again, or do without by " +
          `--forget authorization\n  ${line} --retry-failed`
      )
      const { notes } = yield* recall(before, "-H x-y:z -H Authorization:other")
      assert.deepStrictEqual(notes, {})
      const without = yield* recall(before, "-H x-y:z --forget Authorization")
      assert.deepStrictEqual(without.notes, { version: 1, headers: ["x-y"] })
    }))

  it.effect("does not go on where its bodies are not, and remembers no permission by itself", () =>
    Effect.gen(function*() {
      const gone = join(tmpdir(), "sluice it is not here")
      const before: RunOptions.RunOptions = { flags: { save: gone, allowPrivate: true }, headers: [] }
      const message = (line: string) => Effect.map(Effect.flip(recall(before, line)), (error) => error.message)
      assert.match(
        yield* message("-c 2"),
        /--allow-private.*\n {2}npm start -s -- fetch --run 'it'\\''s' --allow-private --concurrency 2$/
      )
      assert.include(
        yield* message("--allow-private"),
        `which is not here: give the directory, or do without by --forget save\n  npm start -s -- fetch --run 'it'\\''s' --allow-private --save '${gone}'`
      )
      const given = yield* recall(before, "--no-allow-private --save elsewhere")
      assert.strictEqual(policyOf(given.values).denyPrivate, "untrusted")
      const forgotten = yield* recall(before, "--allow-private --forget=--save")
      assert.deepStrictEqual([forgotten.values.save, forgotten.notes], [Option.none(), { version: 1, save: null }])
    }))

  it.effect("forgets only what it knows", () =>
    Effect.gen(function*() {
      const before = yield* begun
      const strange = yield* Effect.flip(recall(before, "--forget rat"))
      assert.strictEqual(
        strange.message,
        "run it's does not remember \"rat\"; what it remembers: save, save-as, keep, output, concurrency, per-host, rate, per-host-rate, " +
          "timeout, connect-timeout, headers-timeout, idle-timeout, retries, retry-status, backoff, backoff-max, max-body, method, user-agent, adaptive, block-max, patience, " +
          "robots, deny-private, " +
          "authorization, x-y"
      )
      const nothing = yield* Effect.flip(recall(RunOptions.none, "--forget rate"))
      assert.include(nothing.message, "it remembers nothing")
    }))

  it.effect("outcomes go to standard output by request, once, and where they went before after that", () =>
    Effect.gen(function*() {
      const before = yield* remembered(everything)
      const { notes, values } = yield* recall(before, "--json")
      assert.deepStrictEqual([values.output, notes], [Option.none(), {}])
      const dash = yield* recall(before, "-o -")
      assert.deepStrictEqual([dash.values.output, dash.notes], [Option.some("-"), { version: 1, output: "-" }])
    }))

  it.effect("two that begin the same run in different ways at the same moment find out", () =>
    Effect.gen(function*() {
      const mine = yield* recall(undefined, "-c 1")
      yield* RunMemory.confirm("it's", mine)(mine.notes)
      const error = yield* Effect.flip(RunMemory.confirm("it's", mine)({ ...mine.notes, save: "/x" }))
      assert.include(error.message, "another process")
    }))

  it("of another version is not guessed at", () => {
    for (const notes of [{ version: 2 }, { version: 1, cookies: "jar" }, { version: 1, concurrency: "many" }]) {
      const read = RunOptions.read("it's", notes)
      assert.include(Result.isFailure(read) ? read.failure.message : "", "another version of this program")
    }
    assert.deepStrictEqual(Result.getOrThrow(RunOptions.read("it's", {})), RunOptions.none)
  })
})
