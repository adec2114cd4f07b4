/**
 * `sluice runs`: past fetch runs; `sluice runs show NAME`: what became of one.
 */
import { Effect, Option, Stream } from "effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import type { FetchOutcome } from "../../services/fetch/FetchOutcome.ts"
import { Frontier, type OutcomeFilter, type RunSummary, type TagCount } from "../../services/fetch/Frontier.ts"
import * as Outcomes from "../fetch/Outcomes.ts"
import * as Tag from "../fetch/Tag.ts"
import { print } from "../terminal/StandardOutput.ts"
import { count } from "../terminal/Style.ts"
import * as Table from "../terminal/Table.ts"

const json = Flag.Boolean("json").pipe(
  Flag.withDescription("NDJSON instead of a table"),
  Flag.withDefault(false)
)

const minute = (iso: string): string => iso.slice(0, 16).replace("T", " ")

const columns = ["pending", "leased", "done", "failed"] as const

/** Runs as a table. */
const runTable = (runs: ReadonlyArray<RunSummary>): ReadonlyArray<string> =>
  Table.lines(
    [Table.left("run"), Table.left("started (UTC)"), ...columns.map(Table.right)],
    runs.map(({ counts, createdAt, name }) => [
      name,
      minute(createdAt),
      ...columns.map((column) => count(counts[column]))
    ])
  )

/** A run and how its outcomes ended. */
const runPage = ({ counts, createdAt, name, updatedAt }: RunSummary, tags: ReadonlyArray<TagCount>) => [
  `run ${name}, started ${minute(createdAt)}, last at work ${minute(updatedAt)} (UTC)`,
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

const list = Effect.fn("sluice runs")(function*({ json }: { readonly json: boolean }) {
  const runs = yield* (yield* Frontier).runs
  yield* print(Stream.fromIterable(
    json
      ? runs.map((run) => JSON.stringify(run))
      : runs.length === 0
      ? ["no runs yet: sluice fetch makes one"]
      : runTable(runs)
  ))
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
  json
}, ({ failed, host, json, name, tag }) =>
  Effect.gen(function*() {
    const frontier = yield* Frontier
    const filter: OutcomeFilter = { failed, tag: Option.getOrUndefined(tag), host: Option.getOrUndefined(host) }
    const isFiltered = failed || Option.isSome(tag) || Option.isSome(host)
    const outcomes = frontier.outcomes(name, filter)
    if (json) {
      yield* print(Stream.map(outcomes, (outcome) => Outcomes.toNdjson(outcome).trimEnd()))
    } else if (isFiltered) {
      yield* print(Stream.map(outcomes, outcomeLine))
    } else {
      yield* print(Stream.fromIterable(runPage(yield* frontier.find(name), yield* frontier.tags(name))))
    }
  })).pipe(
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

/** `sluice runs`. Needs `Frontier` from the root. */
export const runs = Command.make("runs", { json }, list).pipe(
  Command.withDescription("Past fetch runs and their counts"),
  Command.withSubcommands([show])
)
