/**
 * `sluice fetch`: a list of URLs in, one recorded outcome for each out.
 */
import {
  Clock,
  type Context,
  DateTime,
  Effect,
  type FileSystem,
  Option,
  Random,
  Runtime,
  Schema,
  Stdio,
  Stream,
  type Terminal
} from "effect"
import * as Command from "effect/cli/Command"
import { FetchPolicy } from "../../services/fetch/FetchPolicy.ts"
import { Frontier } from "../../services/fetch/Frontier.ts"
import { ExitCode } from "../../services/tasks/ExitCode.ts"
import { say, tell } from "../terminal/Say.ts"
import * as Display from "./Display.ts"
import { fetchRun } from "./FetchRun.ts"
import { flags, policyOf, retryFilterOf, type Values } from "./Flags.ts"
import * as Inputs from "./Inputs.ts"
import * as Outcomes from "./Outcomes.ts"
import { RunMeter } from "./RunMeter.ts"
import { complete, isDone, isSuccess, OutputGone } from "./RunReport.ts"
import * as Summary from "./Summary.ts"

/** The command line does not say what to do. */
export class UsageError extends Schema.TaggedError<UsageError>()("UsageError", { problem: Schema.String }) {
  override get message(): string {
    return this.problem
  }
  override get [Runtime.errorExitCode](): number {
    return ExitCode.usage
  }
}

/** Malformed lines that are named one by one. */
const malformedShown = 20

/** A name for a run that has none: when it began, and something to tell two of a second apart. */
const freshName = Effect.gen(function*() {
  const now = yield* DateTime.now
  const tail = (yield* Random.nextIntBetween(0, 36 ** 4)).toString(36).padStart(4, "0")
  return `${DateTime.formatIso(now).slice(0, 19).replaceAll(":", "").replace("T", "-")}-${tail}`
})

/** What there is to read. Standard input without being asked only when nothing else says what to fetch. */
const inputsOf = Effect.fnUntraced(function*({ input, method, urls }: Values, isKnown: boolean) {
  const defaults = { method: Option.getOrUndefined(method) }
  const stdio = yield* Stdio.Stdio
  const parts: Array<Stream.Stream<Inputs.Input, Inputs.InputError, FileSystem.FileSystem | Stdio.Stdio>> = []
  if (urls.length > 0) parts.push(Inputs.fromArguments(urls, defaults))
  if (Option.isSome(input)) {
    parts.push(input.value === "-" ? Inputs.fromStdin(defaults) : Inputs.fromFile(input.value, defaults))
  }
  if (parts.length === 0 && !isKnown) {
    if (yield* stdio.stdinIsTerminal) {
      return yield* new UsageError({
        problem: "nothing to fetch: give URLs, a file with -i FILE, or pipe a list in; `sluice fetch --help` shows all"
      })
    }
    parts.push(Inputs.fromStdin(defaults))
  }
  const [first, ...rest] = parts
  return first === undefined ? undefined : rest.reduce((all, part) => Stream.concat(all, part), first)
})

const outputOf = Effect.fnUntraced(function*({ json, output }: Values, isKnown: boolean) {
  const stdio = yield* Stdio.Stdio
  const file = Option.getOrUndefined(output)
  if (file !== undefined && file !== "-") return yield* Outcomes.file(file, isKnown)
  return file === "-" || json || !(yield* stdio.stdoutIsTerminal) ? yield* Outcomes.stdout : Outcomes.none
})

/** Names malformed lines, the first ones each. */
const tellMalformed =
  (meter: RunMeter, context: Context.Context<Stdio.Stdio | Terminal.Terminal>) =>
  (line: Inputs.MalformedLine): Effect.Effect<void> => {
    if (meter.malformed > malformedShown) return Effect.void
    const more = meter.malformed === malformedShown ? ["  (further malformed lines are only counted)"] : []
    return Effect.provide(tell([line.message, ...more]), context)
  }

const run = Effect.fn("sluice fetch")(
  function*(values: Values) {
    const frontier = yield* Frontier
    const context = yield* Effect.context<Stdio.Stdio | Terminal.Terminal>()
    if ((Option.isSome(values.tag) || Option.isSome(values.host)) && !values.retryFailed) {
      return yield* new UsageError({ problem: "--tag and --host say which failures --retry-failed is about: add it" })
    }
    const name = Option.getOrUndefined(values.run) ?? (yield* freshName)
    const isKnown = Option.isSome(values.run) && (yield* frontier.find(name).pipe(
      Effect.as(true),
      Effect.catchTag("RunNotFound", () => Effect.succeed(false))
    ))
    if (values.retryFailed && !isKnown) {
      return yield* new UsageError({ problem: `--retry-failed needs a run that is known: \`sluice runs\` lists them` })
    }
    const policy = policyOf(values)
    const meter = new RunMeter(yield* Clock.currentTimeMillis, policy)
    const inputs = yield* inputsOf(values, isKnown)
    const display = yield* Display.of(values)
    const work = fetchRun({
      name,
      inputs,
      retryFailed: retryFilterOf(values),
      headers: Object.keys(values.headers).length === 0 ? undefined : values.headers,
      deadline: Option.getOrUndefined(values.deadline),
      output: yield* outputOf(values, isKnown),
      onMalformed: tellMalformed(meter, context),
      meter
    }).pipe(Effect.provideService(FetchPolicy, policy))
    const report = yield* Display.show(display, work, name, meter).pipe(
      Effect.onInterrupt(() => say([Summary.cutShort("interrupted", name, meter)])),
      Effect.tapErrorTag(
        ["BodyStoreError", "FrontierError", "OutputError"],
        () => say([Summary.cutShort("stopped", name, meter)])
      )
    )
    if (report.stopped === "output closed" && !isDone(report)) {
      yield* say([Summary.cutShort("its reader has gone", name, meter)])
      return yield* new OutputGone()
    }
    if (display === "live") yield* say(["", ...Summary.table(report)])
    else if (display === "plain" || !isSuccess(report)) yield* say(Summary.brief(report))
    return yield* complete(report)
  },
  Effect.catchTag("InputError", (error) => Effect.fail(new UsageError({ problem: error.message }))),
  Effect.scoped
)

/** `sluice fetch`. Needs `Frontier` and `Fetcher`, and with `--save` a `BodyStore`. */
export const fetch = Command.make("fetch", flags, run).pipe(
  Command.withDescription("Fetch a list of URLs: one recorded outcome for each, resumable, within limits"),
  Command.withExamples([
    { command: "sluice fetch https://example.com https://example.org", description: "Two URLs" },
    {
      command: "sluice fetch -i urls.txt --run crawl-1 -o outcomes.ndjson",
      description: "A list, as a run that can be continued"
    },
    { command: "sluice fetch --run crawl-1 --retry-failed --tag IdleTimeout", description: "Again what timed out" },
    {
      command: "cat urls.txt | sluice fetch --save bodies -c 200 | jq .status",
      description: "In a pipe, bodies to files"
    }
  ])
)
