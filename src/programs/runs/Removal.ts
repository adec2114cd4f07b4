/**
 * `sluice runs rm NAME...` and `sluice runs prune`: runs and what is recorded of them, out of the database. Files are nobody's to remove.
 */
import { Duration, Effect, Result, Schema, Stream } from "effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { Frontier, type RunCounts, type RunSummary } from "../../services/fetch/Frontier.ts"
import * as RunPruning from "../../services/fetch/RunPruning.ts"
import { ShortDuration } from "../../services/tasks/ShortDuration.ts"
import * as RunOptions from "../fetch/RunOptions.ts"
import { UsageError } from "../fetch/UsageError.ts"
import { CalledAs } from "../terminal/CalledAs.ts"
import { say } from "../terminal/Say.ts"
import * as ShellLine from "../terminal/ShellLine.ts"
import { print } from "../terminal/StandardOutput.ts"
import { count } from "../terminal/Style.ts"
import * as RunTable from "./RunTable.ts"
import { unknownRun } from "./UnknownRun.ts"

const urls = ({ done, failed, leased, pending }: RunCounts): string => {
  const all = done + failed + leased + pending
  return `${count(all)} ${all === 1 ? "URL" : "URLs"}`
}

const removedLine = (name: string, counts: RunCounts): string => `removed run ${name} (${urls(counts)})`

const removeOne = Effect.fnUntraced(function*(name: string, isForced: boolean) {
  const frontier = yield* Frontier
  const calledAs = yield* CalledAs
  const { counts } = yield* frontier.find(name)
  const options = Result.getOrElse(RunOptions.read(name, yield* frontier.notes(name)), () => RunOptions.none)
  yield* frontier.remove(name, { isForced }).pipe(
    Effect.catchTag("RunBusy", (error) =>
      Effect.fail(
        new UsageError({
          problem: `${error.message}: end it first, or take it away all the same: ${
            ShellLine.of(calledAs, "runs", "rm", "--force", name)
          }`
        })
      ))
  )
  const files = ["save", "output"].flatMap((flag) => {
    const path = options.flags[flag]
    return typeof path === "string" && path !== "-" ? [path] : []
  })
  yield* say([
    `${removedLine(name, counts)}${files.length === 0 ? "" : `; what it has written stays: ${files.join(", ")}`}`
  ])
})

/** `sluice runs rm NAME...`. */
export const rm = Command.make(
  "rm",
  {
    names: Argument.String("name").pipe(
      Argument.withDescription("Names of runs"),
      Argument.variadic({ min: 1 })
    ),
    force: Flag.Boolean("force").pipe(
      Flag.withDescription("Also runs that a process works on: it ends with an error"),
      Flag.withDefault(false)
    )
  },
  ({ force, names }) =>
    Effect.forEach(names, (name) => removeOne(name, force), { discard: true }).pipe(
      Effect.catchTag("RunNotFound", unknownRun)
    )
).pipe(
  Command.withDescription("Remove runs and all that is recorded of them; saved bodies and outcome files stay")
)

const older = Flag.String("older").pipe(
  Flag.withMetavar("duration"),
  Flag.withDescription("Runs that nobody has added to or worked on for so long, such as 30d or 12h"),
  Flag.withSchema(ShortDuration.check(
    Schema.makeFilter((age) => Duration.toMillis(age) > 0, { expected: "a time such as 30d or 12h" })
  ))
)

const unfinished = (runs: ReadonlyArray<RunSummary>): string => {
  const open = runs.filter(({ counts }) => counts.pending > 0).length
  return open === 0 ? "" : `, ${count(open)} of them unfinished`
}

const plural = (many: number): string => `${count(many)} ${many === 1 ? "run" : "runs"}`

/** `sluice runs prune`. */
export const prune = Command.make("prune", {
  older,
  dryRun: Flag.Boolean("dry-run").pipe(
    Flag.withDescription("Only list what would be removed"),
    Flag.withDefault(false)
  )
}, ({ dryRun, older }) =>
  Effect.gen(function*() {
    if (dryRun) {
      const runs = yield* RunPruning.idle(older)
      if (runs.length > 0) yield* print(Stream.fromIterable(RunTable.lines(runs)))
      return yield* say([`${plural(runs.length)} would be removed${unfinished(runs)}`])
    }
    const removed = yield* RunPruning.prune(older, ({ counts, name }) => say([removedLine(name, counts)]))
    return yield* say([`${plural(removed)} removed; saved bodies and outcome files stay`])
  })).pipe(
    Command.withDescription("Remove runs that nobody has touched for some time; those at work stay"),
    Command.withExamples([
      { command: "sluice runs prune --older 30d --dry-run", description: "What would go" }
    ])
  )
