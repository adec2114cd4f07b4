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
  Stdio,
  Stream,
  type Terminal
} from "effect"
import * as Command from "effect/cli/Command"
import { BodyStore, BodyStores } from "../../services/fetch/BodyStore.ts"
import { FetchPolicy } from "../../services/fetch/FetchPolicy.ts"
import { Frontier } from "../../services/fetch/Frontier.ts"
import { CalledAs } from "../terminal/CalledAs.ts"
import { say, tell } from "../terminal/Say.ts"
import { dim } from "../terminal/Style.ts"
import * as Display from "./Display.ts"
import * as DryRun from "./DryRun.ts"
import { fetchRun } from "./FetchRun.ts"
import { againOf, flags, headersOf, policyOf, type Values } from "./Flags.ts"
import * as Inputs from "./Inputs.ts"
import * as Outcomes from "./Outcomes.ts"
import * as RunMemory from "./RunMemory.ts"
import { RunMeter } from "./RunMeter.ts"
import * as RunOptions from "./RunOptions.ts"
import { complete, isDone, isSuccess, OutputGone, type RunReport } from "./RunReport.ts"
import * as Summary from "./Summary.ts"
import { UsageError } from "./UsageError.ts"

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
        problem:
          `nothing to fetch: give URLs, a file with -i FILE, or pipe a list in; \`${yield* CalledAs} fetch --help\` shows all`
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

/** What flags say together that cannot be. */
const contradiction = ({ again, host, retryFailed, status, tag }: Values): string | undefined =>
  (Option.isSome(tag) || Option.isSome(host) || Option.isSome(status)) && !retryFailed && !again
    ? "--tag, --host and --status say what --retry-failed or --again is about: add one of them"
    : retryFailed && again
    ? "--again is about all that is recorded, --retry-failed about failures: choose"
    : undefined

/** What a run remembers; `undefined` of one that is not there. */
const rememberedOf = Effect.fnUntraced(function*(values: Values) {
  if (Option.isNone(values.run)) return undefined
  const name = values.run.value
  const notes = yield* (yield* Frontier).notes(name).pipe(
    Effect.catchTag("RunNotFound", () => Effect.succeed(undefined))
  )
  return notes === undefined ? undefined : yield* Effect.fromResult(RunOptions.read(name, notes))
})

/** The input as it has to be given again, for the line that goes on with a run. */
const inputWords = ({ inputs, urls }: Values): ReadonlyArray<string> => [
  ...(inputs.length + urls.length === 0 ? ["-i", "-"] : inputs.flatMap((file) => ["-i", file])),
  ...urls
]

/** Bodies go there, or nowhere. */
const keepingIn = (store: BodyStore["Service"] | undefined) => <A, E, R>(work: Effect.Effect<A, E, R>) =>
  store === undefined ? work : Effect.provideService(work, BodyStore, store)

/** Opens the store of bodies, before anything is overwritten or fetched. */
const bodiesOf = Effect.fnUntraced(function*({ save, saveAs }: Values) {
  if (Option.isSome(save)) return yield* (yield* BodyStores).open(save.value, Option.getOrUndefined(saveAs))
  return Option.isNone(saveAs)
    ? undefined
    : yield* new UsageError({ problem: "--save-as says what the files below --save DIR are called: add that" })
})

/** What of the command line is known before its run is. */
const recalled = Effect.fnUntraced(function*(given: Values) {
  const problem = contradiction(given)
  if (problem !== undefined) return yield* new UsageError({ problem })
  const name = Option.getOrUndefined(given.run) ?? (yield* freshName)
  const remembered = yield* rememberedOf(given)
  const isKnown = remembered !== undefined
  if (!isKnown && (given.retryFailed || given.again || given.forget.length > 0)) {
    return yield* new UsageError({
      problem: `--retry-failed, --again and --forget need a run that is known: \`${yield* CalledAs} runs\` lists them`
    })
  }
  return { name, isKnown, memory: yield* RunMemory.recall(name, remembered, given) }
})

/** The last words of a run that came to its end. */
const concluded = Effect.fnUntraced(function*(report: RunReport, display: Display.Display, goOn: string) {
  if (display === "live") yield* say(["", ...Summary.table(report, goOn)])
  else if (display === "plain" || !isSuccess(report)) yield* say(Summary.brief(report, goOn))
  return yield* complete(report)
})

const run = Effect.fn("sluice fetch")(
  function*(given: Values) {
    const context = yield* Effect.context<Stdio.Stdio | Terminal.Terminal>()
    const { isKnown, memory, name } = yield* recalled(given)
    const { lines, notes, options, values } = memory
    const policy = policyOf(values)
    const meter = new RunMeter(yield* Clock.currentTimeMillis)
    const inputs = yield* inputsOf(values, isKnown)
    if (given.dryRun) {
      const report = yield* DryRun.read({
        name,
        isKnown,
        inputs,
        again: againOf(values),
        onMalformed: tellMalformed(meter, context),
        meter
      })
      if (!given.quiet) yield* tell(DryRun.lines(report))
      return yield* DryRun.complete(report)
    }
    const display = yield* Display.of(values)
    const bodies = yield* bodiesOf(values)
    if (display !== "quiet") yield* say(lines.map(dim))
    const work = fetchRun({
      name,
      inputs,
      again: againOf(values),
      notes,
      onOpen: RunMemory.confirm(name, memory),
      headers: headersOf(values),
      deadline: Option.getOrUndefined(values.deadline),
      output: yield* outputOf(values, isKnown),
      onMalformed: tellMalformed(meter, context),
      meter
    }).pipe(Effect.provideService(FetchPolicy, policy), keepingIn(bodies))
    const calledAs = yield* CalledAs
    const goOn = RunMemory.lineOf(calledAs, name, options)
    const cutShort = (how: Parameters<typeof Summary.cutShort>[0]) =>
      Effect.suspend(() => {
        const line = meter.isInputDone ? goOn : RunMemory.lineOf(calledAs, name, options, inputWords(given))
        return say([Summary.cutShort(how, meter, line)])
      })
    const report = yield* Display.show(display, work, name, meter).pipe(
      Effect.onInterrupt(() => cutShort("interrupted")),
      Effect.tapErrorTag(["BodyStoreError", "FrontierError", "OutputError"], () => cutShort("stopped"))
    )
    if (report.stopped === "output closed" && !isDone(report)) {
      yield* cutShort("its reader has gone")
      return yield* new OutputGone()
    }
    return yield* concluded(report, display, goOn)
  },
  Effect.catchTag("InputError", (error) => Effect.fail(new UsageError({ problem: error.message }))),
  Effect.scoped
)

/** `sluice fetch`. Needs `Frontier`, `Fetcher` and `BodyStores`. */
export const fetch = Command.make("fetch", flags, run).pipe(
  Command.withDescription("Fetch a list of URLs: one recorded outcome for each, resumable, within limits"),
  Command.withExamples([
    { command: "sluice fetch https://example.com https://example.org", description: "Two URLs" },
    {
      command: "sluice fetch -i urls.txt --run crawl-1 -o outcomes.ndjson",
      description: "A list, as a run that can be continued"
    },
    {
      command: "sluice fetch --run crawl-1 --retry-failed --status 5xx",
      description: "Again what the servers failed at"
    },
    {
      command: "cat urls.txt | sluice fetch --save bodies -c 200 | jq .status",
      description: "In a pipe, bodies to files"
    }
  ])
)
