/**
 * `sluice runs`: past fetch runs; `sluice runs show NAME`: what became of one; `rm` and `prune` remove them.
 */
import { Effect, Option, Result, Schema, Stream } from "effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import type { FetchOutcome } from "../../services/fetch/FetchOutcome.ts"
import { Frontier, type OutcomeFilter, type RunSummary, type TagCount } from "../../services/fetch/Frontier.ts"
import { status } from "../fetch/Flags.ts"
import * as Outcomes from "../fetch/Outcomes.ts"
import * as RunOptions from "../fetch/RunOptions.ts"
import * as Tag from "../fetch/Tag.ts"
import { CalledAs } from "../terminal/CalledAs.ts"
import { say } from "../terminal/Say.ts"
import * as ShellLine from "../terminal/ShellLine.ts"
import { print } from "../terminal/StandardOutput.ts"
import { count } from "../terminal/Style.ts"
import * as Table from "../terminal/Table.ts"
import { prune, rm } from "./Removal.ts"
import * as RunTable from "./RunTable.ts"
import { unknownRun } from "./UnknownRun.ts"

const json = Flag.Boolean("json").pipe(
  Flag.withDescription("NDJSON instead of a table"),
  Flag.withDefault(false)
)

/** What a run remembers, as the flags that were given. */
const begunWith = ({ flags, headers }: RunOptions.RunOptions): ReadonlyArray<string> => {
  const words = [...RunOptions.allWords(flags), ...headers.flatMap((header) => ["-H", `${header}: ...`])]
  return words.length === 0 ? [] : [`begun with ${words.map(ShellLine.quote).join(" ")}`]
}

interface RunPage {
  readonly run: RunSummary
  readonly options: RunOptions.RunOptions
  readonly tags: ReadonlyArray<TagCount>
}

/** A run and how its outcomes ended. */
const runPage = ({ options, run: { counts, createdAt, name, updatedAt }, tags }: RunPage) => [
  `run ${name}, started ${RunTable.minute(createdAt)}, last at work ${RunTable.minute(updatedAt)} (UTC)`,
  ...begunWith(options),
  [
    `${count(counts.done)} done`,
    `${count(counts.failed)} failed`,
    `${count(counts.pending)} pending${counts.deferred > 0 ? ` (${count(counts.deferred)} to be asked later)` : ""}`,
    `${count(counts.leased)} leased`
  ].join(", "),
  "",
  ...Table.lines(
    [Table.left("outcome"), Table.right("URLs")],
    tags.map(({ count: many, tag }) => [tag ?? "ok", count(many)])
  )
]

/** An outcome in a line, for people. */
const outcomeLine = ({ bytes, durationMs, error, status, url }: FetchOutcome): string =>
  error === null
    ? `ok  ${status ?? ""}  ${count(bytes)} B  ${Math.round(durationMs)} ms  ${url}`
    : `${error._tag}  ${error.message}  ${url}`

interface ListFlags {
  readonly json: boolean
  readonly limit: number
}

const list = Effect.fn("sluice runs")(function*({ json, limit }: ListFlags) {
  const calledAs = yield* CalledAs
  // One more than is shown, which tells whether there are more.
  const found = yield* (yield* Frontier).runs({ most: limit + 1 })
  const runs = found.slice(0, limit)
  yield* print(Stream.fromIterable(
    json
      ? runs.map((run) => JSON.stringify(run))
      : runs.length === 0
      ? [`no runs yet: ${calledAs} fetch makes one`]
      : RunTable.lines(runs)
  ))
  if (found.length > limit) yield* say([`there are more: ${calledAs} runs -n ${limit * 10}`])
})

const show = Command.make("show", {
  name: Argument.String("name").pipe(Argument.withDescription("Name of the run")),
  failed: Flag.Boolean("failed").pipe(Flag.withDescription("List its failures"), Flag.withDefault(false)),
  tag: Tag.flag("List failures of this kind, such as IdleTimeout"),
  host: Flag.String("host").pipe(
    Flag.withMetavar("host"),
    Flag.withDescription("List outcomes of this host (with its port, if it has one)"),
    Flag.optional
  ),
  status: status("List outcomes with this status, or class of them, such as 404 or 5xx"),
  json
}, ({ failed, host, json, name, status, tag }) =>
  Effect.gen(function*() {
    const frontier = yield* Frontier
    const filter: OutcomeFilter = {
      failed,
      tag: Option.getOrUndefined(tag),
      host: Option.getOrUndefined(host),
      status: Option.getOrUndefined(status)
    }
    const isFiltered = failed || Option.isSome(tag) || Option.isSome(host) || Option.isSome(status)
    const outcomes = frontier.outcomes(name, filter)
    if (json) {
      yield* print(Stream.map(outcomes, (outcome) => Outcomes.toNdjson(outcome).trimEnd()))
    } else if (isFiltered) {
      yield* print(Stream.map(outcomes, outcomeLine))
    } else {
      const [run, notes, tags] = [yield* frontier.find(name), yield* frontier.notes(name), yield* frontier.tags(name)]
      const options = Result.getOrElse(RunOptions.read(name, notes), () => RunOptions.none)
      yield* print(Stream.fromIterable(runPage({ run, options, tags })))
    }
  }).pipe(Effect.catchTag("RunNotFound", unknownRun))).pipe(
    Command.withDescription(
      "What became of a run: counts by outcome; with a filter or --json, the outcomes themselves"
    ),
    Command.withExamples([
      {
        command: "sluice runs show crawl-1 --tag IdleTimeout --host example.com",
        description: "Failures of a kind on a host"
      },
      { command: "sluice runs show crawl-1 --json", description: "All outcomes as NDJSON" }
    ])
  )

const limit = Flag.Int("limit").pipe(
  Flag.withAlias("n"),
  Flag.withDescription("List at most so many, the latest first"),
  Flag.withSchema(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 1_000_000 }))),
  Flag.withDefault(50)
)

/** `sluice runs`. Needs `Frontier` from the root. */
export const runs = Command.make("runs", { json, limit }, list).pipe(
  Command.withDescription("Past fetch runs and their counts"),
  Command.withSubcommands([show, rm, prune])
)
