/** `sluice jobs ls|show|retry|...`; those that change what waits are in `Changes.ts`. Needs the database, which the root provides. */
import { Console, Effect, Option, Schema } from "effect"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { JobFailure, JobId, JobState } from "../../services/jobs/Job.ts"
import type { JobPage, StuckJob } from "../../services/jobs/JobStore.ts"
import { given } from "../terminal/Given.ts"
import * as Table from "../terminal/Table.ts"
import { takesMillis } from "../work/DemoWorker.ts"
import * as Changes from "./Changes.ts"
import { id, ids, json, kind, queue, queueName } from "./Flags.ts"
import * as KnownQueue from "./KnownQueue.ts"
import * as Jobs from "./Operations.ts"

const limit = Flag.Int("limit").pipe(Flag.withAlias("n"), Flag.withDescription("At most so many"), Flag.withDefault(50))
const before = Flag.String("before").pipe(
  Flag.withSchema(JobId),
  Flag.withDescription("Only jobs older than this id: the next page"),
  Flag.optional
)

/** Rows as JSON lines, or as a table; a table of nothing is a sentence. */
const print = <A>(
  rows: ReadonlyArray<A>,
  isJson: boolean,
  table: (rows: ReadonlyArray<A>) => ReadonlyArray<string>,
  none: string
) => {
  if (rows.length === 0) return isJson ? Effect.void : Console.log(none)
  return Console.log((isJson ? rows.map((row) => JSON.stringify(row)) : table(rows)).join("\n"))
}

/** A page of jobs; on standard error, where the next one begins. */
const printPage = ({ jobs, next }: JobPage, isJson: boolean, none: string) =>
  Effect.andThen(
    print(jobs, isJson, Jobs.jobTable, next === undefined ? none : `${none} among those looked at`),
    next === undefined ? Effect.void : Console.error(`there may be more: --before ${next}`)
  )

const ls = Command.make("ls", {
  before,
  json,
  kind,
  limit,
  queue,
  state: Flag.Literals("state", JobState.literals).pipe(Flag.withDescription("Only this state"), Flag.optional)
}, ({ json, limit, ...filter }) =>
  Effect.andThen(
    KnownQueue.check(Option.getOrUndefined(filter.queue)),
    Effect.flatMap(Jobs.list({ ...given(filter), limit }), (page) => printPage(page, json, "no such jobs"))
  )).pipe(Command.withDescription("List jobs, newest first"))

const show = Command.make(
  "show",
  { id, json },
  ({ id, json }) =>
    Effect.flatMap(Jobs.show(id), (info) => Console.log(json ? JSON.stringify(info) : Jobs.jobDetails(info).join("\n")))
).pipe(
  Command.withDescription("Show everything about one job")
)

const reason = Flag.Literals("reason", JobFailure.fields.reason.literals).pipe(
  Flag.withDescription("Only those that failed for this reason"),
  Flag.optional
)

const retry = Command.make("retry", {
  ids,
  json,
  kind,
  limit: Flag.Int("limit").pipe(Flag.withAlias("n"), Flag.withDescription("At most so many"), Flag.withDefault(1000)),
  preview: Flag.Boolean("preview").pipe(Flag.withDescription("Only say what would be done"), Flag.withDefault(false)),
  queue,
  rate: Flag.Finite("rate").pipe(Flag.withDescription("So many per second, instead of all at once"), Flag.optional),
  reason
}, ({ ids, json, limit, preview, rate, ...filter }) =>
  Effect.flatMap(
    Effect.andThen(
      KnownQueue.check(Option.getOrUndefined(filter.queue)),
      Jobs.retry(
        { ...given(filter), ...(ids.length === 0 ? {} : { ids }), limit },
        { rate: Option.getOrUndefined(rate), preview }
      )
    ),
    (done) =>
      Console.log(
        json
          ? JSON.stringify(done)
          : `${done.matched} dead letter(s) ${done.preview ? "would be run again" : "will be run again"}` +
            (done.ids.length === 0 ? "" : `: ${done.ids.slice(0, 10).join(", ")}${done.matched > 10 ? ", ..." : ""}`) +
            (done.held === 0 ? "" : `; ${done.held} held back by a job with the same unique text`)
      )
  )).pipe(Command.withDescription("Run dead letters again, with fresh attempts"))

const cancel = Command.make(
  "cancel",
  { ids, json },
  ({ ids, json }) =>
    Effect.flatMap(Jobs.cancel(ids), (done) =>
      print(
        done,
        json,
        (rows) => Table.lines([Table.left("id"), Table.left("outcome")], rows.map((row) => [row.id, row.outcome])),
        "no ids were given"
      ))
).pipe(Command.withDescription("Cancel jobs; a running one is interrupted by its worker"))

const dead = Command.make("dead", { before, json, kind, limit, queue }, ({ json, limit, ...filter }) =>
  Effect.andThen(
    KnownQueue.check(Option.getOrUndefined(filter.queue)),
    Effect.flatMap(
      Jobs.list({ ...given(filter), limit, state: "dead" }),
      (page) => printPage(page, json, "no dead letters")
    )
  )).pipe(Command.withDescription("List dead letters: jobs that are out of attempts"))

/** On standard error, so that what is read by programs is counters only. */
const printStuck = (rows: ReadonlyArray<StuckJob>, asJson: boolean) =>
  Console.error(
    (asJson
      ? rows.map((row) => JSON.stringify(row))
      : [
        "jobs that nobody works on: the next heartbeat takes them back, unless a session holds them",
        ...Jobs.stuckTable(rows)
      ]).join("\n")
  )

const stats = Command.make(
  "stats",
  { json },
  ({ json }) =>
    Effect.andThen(
      Effect.flatMap(Jobs.stats, (rows) => print(rows, json, Jobs.statsTable, "no queues yet")),
      Effect.flatMap(Jobs.stuck, (rows) => rows.length === 0 ? Effect.void : printStuck(rows, json))
    )
).pipe(
  Command.withDescription("Show the exact counters of every queue, and jobs that nobody works on")
)

const setPaused = (queue: string, isPaused: boolean, said: string) =>
  KnownQueue.check(queue).pipe(
    Effect.andThen(Jobs.pause(queue, isPaused)),
    Effect.andThen(Console.log(`${queue}: ${said}`))
  )

const pause = Command.make(
  "pause",
  { queue: queueName },
  ({ queue }) => setPaused(queue, true, "paused; what runs is let finish")
).pipe(
  Command.withDescription("Let no worker claim from a queue; what runs is let finish")
)

const resume = Command.make(
  "resume",
  { queue: queueName },
  ({ queue }) => setPaused(queue, false, "open for workers again")
).pipe(
  Command.withDescription("Let workers claim from a paused queue again")
)

const tryOut = Command.make(
  "try",
  {
    count: Flag.Int("count").pipe(
      Flag.withAlias("n"),
      Flag.withDescription("How many"),
      Flag.withSchema(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 100_000 }))),
      Flag.withDefault(1)
    ),
    fail: Flag.Boolean("fail").pipe(Flag.withDescription("Jobs that fail"), Flag.withDefault(false)),
    json,
    takes: Flag.Int("takes").pipe(
      Flag.withMetavar("MILLIS"),
      Flag.withDescription("How long each runs"),
      Flag.withSchema(takesMillis),
      Flag.withDefault(0)
    )
  },
  ({ count, fail, json, takes }) =>
    Effect.flatMap(
      Jobs.tryOut(count, takes, fail),
      (ids) =>
        Console.log(json ? JSON.stringify({ ids }) : `enqueued ${ids.length}: ${ids[0] ?? "-"} to ${ids.at(-1) ?? "-"}`)
    )
).pipe(
  Command.withDescription("Enqueue jobs of the demonstration kind, which every `sluice work` runs")
)

export const jobs = Command.make("jobs").pipe(
  Command.withDescription("Look at jobs and act on them"),
  Command.withSubcommands([ls, show, retry, cancel, dead, stats, pause, resume, ...Changes.commands, tryOut])
)
