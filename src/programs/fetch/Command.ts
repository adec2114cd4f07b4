/**
 * `sluice fetch`: a list of URLs in, one recorded outcome for each out.
 */
import {
  Clock,
  type Context,
  DateTime,
  Effect,
  FileSystem,
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
import { withLines, withLiveRegion } from "../terminal/LiveRegion.ts"
import { say, tell } from "../terminal/Say.ts"
import * as Screen from "../terminal/Screen.ts"
import { fetchRun } from "./FetchRun.ts"
import { flags, headersOf, policyOf, retryFilterOf, type Values } from "./Flags.ts"
import * as Inputs from "./Inputs.ts"
import * as Outcomes from "./Outcomes.ts"
import * as Progress from "./Progress.ts"
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

/** The body of requests that have none. Its type may be said by a header instead. */
const bodyOf = ({ data, headers }: Values): Inputs.Body | undefined =>
  Option.match(data, {
    onNone: () => undefined,
    onSome: (body) => headers["content-type"] === undefined ? body : { text: body.text }
  })

/** What there is to read. Standard input without being asked only when nothing else says what to fetch. */
const inputsOf = Effect.fnUntraced(function*(values: Values, isKnown: boolean) {
  const { inputs, urls } = values
  const defaults: Inputs.Defaults = {
    method: Option.getOrUndefined(values.method),
    keep: Option.getOrUndefined(values.keep),
    body: bodyOf(values)
  }
  const stdio = yield* Stdio.Stdio
  const parts: Array<Stream.Stream<Inputs.Input, Inputs.InputError, FileSystem.FileSystem | Stdio.Stdio>> = []
  if (urls.length > 0) parts.push(Inputs.fromArguments(urls, defaults))
  for (const input of inputs) {
    parts.push(input === "-" ? Inputs.fromStdin(defaults) : Inputs.fromFile(input, defaults))
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

/** How a run is shown while it goes on. */
type Display = "live" | "plain" | "quiet"

/** A live picture, unless the outcomes themselves go over the screen, or may: whoever reads a pipe may print what it reads. */
const displayOf = Effect.fnUntraced(function*({ json, output, quiet }: Values) {
  if (quiet) return "quiet"
  if (!(yield* Screen.isLive)) return "plain"
  const { stdoutIsTerminal } = yield* Stdio.Stdio
  const isTerminal = yield* stdoutIsTerminal
  const file = Option.getOrUndefined(output)
  const isToldHere = file === undefined ? json || !isTerminal : file === "-"
  if (!isToldHere) return "live"
  const { stat } = yield* FileSystem.FileSystem
  const kind = Option.map(yield* Effect.option(stat("/dev/stdout")), ({ type }) => type)
  return !isTerminal && Option.contains(kind, "File") ? "live" : "plain"
})

/** Runs it in sight of whoever started it. */
const shownAs = <A, E, R>(display: Display, work: Effect.Effect<A, E, R>, name: string, meter: RunMeter) => {
  if (display === "live") return withLiveRegion(work, Progress.draw(name, meter))
  return display === "plain" ? withLines(work, Progress.line(name, meter)) : work
}

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
    if (Option.isSome(values.saveAs) && Option.isNone(values.save)) {
      return yield* new UsageError({ problem: "--save-as says what the files below --save DIR are called: add that" })
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
    const meter = new RunMeter(yield* Clock.currentTimeMillis)
    const inputs = yield* inputsOf(values, isKnown)
    const display = yield* displayOf(values)
    const work = fetchRun({
      name,
      inputs,
      retryFailed: retryFilterOf(values),
      headers: headersOf(values),
      deadline: Option.getOrUndefined(values.deadline),
      output: yield* outputOf(values, isKnown),
      onMalformed: tellMalformed(meter, context),
      meter
    }).pipe(Effect.provideService(FetchPolicy, policy))
    const report = yield* shownAs(display, work, name, meter).pipe(
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
