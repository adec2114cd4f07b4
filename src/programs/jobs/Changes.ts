/** `sluice jobs run-now|priority|reschedule|delete|rate`: what operators change of jobs that nobody runs, and of queues. */
import { Console, DateTime, Effect, Option, Runtime, Schema } from "effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import type { JobId } from "../../services/jobs/Job.ts"
import { JobAdmin } from "../../services/jobs/JobAdmin.ts"
import * as JobChange from "../../services/jobs/JobChange.ts"
import { JobOptionInvalid } from "../../services/jobs/JobError.ts"
import { ExitCode } from "../../services/tasks/ExitCode.ts"
import * as ShortDuration from "../../services/tasks/ShortDuration.ts"
import { given } from "../terminal/Given.ts"
import * as Table from "../terminal/Table.ts"
import { ids, json, kind, queue, queueName } from "./Flags.ts"
import * as KnownQueue from "./KnownQueue.ts"

const limit = Flag.Int("limit").pipe(
  Flag.withAlias("n"),
  Flag.withDescription("The oldest so many"),
  Flag.withDefault(1000)
)
const preview = Flag.Boolean("preview").pipe(
  Flag.withDescription("Only say what would be done"),
  Flag.withDefault(false)
)
const state = Flag.Literals("state", JobChange.changeable).pipe(Flag.withDescription("Only this state"), Flag.optional)
const common = { ids, json, kind, limit, preview, queue, state }

/** Jobs that were asked for by their id were not changed; what they are was said. */
export class JobsUnchanged extends Schema.TaggedError<JobsUnchanged>()("JobsUnchanged", {
  count: Schema.Int,
  first: Schema.String
}) {
  override get message() {
    return `${this.count} job(s) stay as they are: ${this.first}`
  }
  override get [Runtime.errorExitCode](): number {
    return ExitCode.someFailed
  }
}

const some = (ids: ReadonlyArray<JobId>): string =>
  ids.length === 0 ? "" : `: ${ids.slice(0, 10).join(", ")}${ids.length > 10 ? ", ..." : ""}`

const whyNot = (change: JobChange.JobChange, { state }: JobChange.Changed["unchanged"][number]): string => {
  if (state === undefined) return "there is no such job"
  if (state === "running") return "it runs"
  if (change._tag === "RunNow" && (state === "ready" || state === "blocked")) return `it is due already (${state})`
  if (state === "succeeded" || state === "cancelled" || state === "dead") return `it has ended (${state})`
  if (state === "waiting") return "it waits for its children"
  return change._tag === "Delete"
    ? "it is part of a flow (cancel it instead), or somebody else has it at this moment"
    : "somebody else has it at this moment: try again"
}

/** A job that is due already is as it was wanted. */
const isWrong = (change: JobChange.JobChange) => ({ state }: JobChange.Changed["unchanged"][number]) =>
  change._tag !== "RunNow" || (state !== "ready" && state !== "blocked")

/** The words for one change: `3 job(s) will run now`, `3 job(s) would run now`. */
interface Words {
  readonly done: string
  readonly previewed: string
}

interface Options extends Omit<JobChange.ChangeFilter, "ids"> {
  readonly ids: ReadonlyArray<JobId>
  readonly json: boolean
  readonly preview: boolean
}

const run = (change: JobChange.JobChange, words: Words, { ids, json, preview, ...filter }: Options) =>
  Effect.gen(function*() {
    yield* KnownQueue.check(filter.queue)
    const admin = yield* JobAdmin
    const meant: JobChange.ChangeFilter = { ...filter, ...(ids.length === 0 ? {} : { ids }) }
    if (preview) {
      const { matched, sample } = yield* admin.previewChange(meant, change)
      const first = sample.map(({ id }) => id)
      yield* Console.log(
        json
          ? JSON.stringify({ preview: true, matched, ids: first })
          : `${matched} job(s) ${words.previewed}${some(first)}`
      )
      return
    }
    const done = yield* admin.change(meant, change)
    const unchanged = done.unchanged.map((one) => ({ ...one, why: whyNot(change, one) }))
    yield* Console.log(
      json
        ? JSON.stringify({ preview: false, matched: done.ids.length, ids: done.ids, busy: done.busy, unchanged })
        : [
          `${done.ids.length} job(s) ${words.done}${some(done.ids)}`,
          ...(done.busy > 0 ? [`${done.busy} had somebody else at this moment: run it again for those`] : []),
          ...(unchanged.length === 0
            ? []
            : Table.lines([Table.left("id"), Table.left("left alone")], unchanged.map(({ id, why }) => [id, why])))
        ].join("\n")
    )
    const wrong = done.unchanged.filter(isWrong(change))
    const [first] = wrong
    yield* first === undefined
      ? Effect.void
      : new JobsUnchanged({ count: wrong.length, first: `${first.id}, ${whyNot(change, first)}` })
  })

const optionsOf = (
  { ids, json, limit, preview, ...filter }: Pick<Options, "ids" | "json" | "preview"> & {
    readonly limit: number
    readonly queue: Option.Option<string>
    readonly kind: Option.Option<string>
    readonly state: Option.Option<typeof JobChange.changeable[number]>
  }
): Options => ({ ...given(filter), ids, json, limit, preview })

const runNow = Command.make(
  "run-now",
  common,
  (flags) => run(JobChange.runNow, { done: "will run now", previewed: "would run now" }, optionsOf(flags))
).pipe(Command.withDescription("Let scheduled jobs, and those that wait for their retry, run at once"))

const priority = Command.make("priority", {
  ...common,
  to: Flag.Int("to").pipe(
    Flag.withMetavar("N"),
    Flag.withDescription("The new priority, -1000 to 1000; higher runs first")
  )
}, ({ to, ...flags }) =>
  run(
    JobChange.priority(to),
    { done: `have priority ${to} now`, previewed: `would get priority ${to}` },
    optionsOf(flags)
  )).pipe(Command.withDescription("Give waiting jobs another priority"))

const where = "sluice jobs"

const whenInvalid = new JobOptionInvalid({
  where: `${where} reschedule`,
  option: "the time",
  given: "not said once, or not readable",
  expected: "--in 10m (a duration from now), or --at 2031-02-03T04:05:06Z"
})

const reschedule = Command.make("reschedule", {
  ...common,
  at: Flag.String("at").pipe(
    Flag.withMetavar("TIME"),
    Flag.withDescription("Run at this time, such as 2031-02-03T04:05:06Z"),
    Flag.optional
  ),
  in: Flag.String("in").pipe(
    Flag.withMetavar("DURATION"),
    Flag.withDescription("Run so long from now, such as 10m"),
    Flag.optional
  )
}, ({ at, in: delay, ...flags }) =>
  Effect.suspend(() => {
    const runAt = Option.flatMap(at, (text) => DateTime.make(text))
    const later = Option.flatMap(delay, (text) => Option.fromUndefinedOr(ShortDuration.parse(text)))
    // Just one of them, and that one readable.
    if (Option.isSome(at) === Option.isSome(delay) || Option.isSome(runAt) === Option.isSome(later)) {
      return Effect.fail(whenInvalid)
    }
    const change = Option.isSome(runAt)
      ? JobChange.reschedule({ runAt: DateTime.toDate(runAt.value) })
      : JobChange.reschedule({ delay: Option.getOrElse(later, () => 0) })
    const when = Option.getOrElse(at, () => `in ${Option.getOrElse(delay, () => "")}`)
    return run(change, { done: `will run ${when}`, previewed: `would run ${when}` }, optionsOf(flags))
  })).pipe(Command.withDescription("Let waiting jobs run earlier or later"))

const remove = Command.make(
  "delete",
  common,
  (flags) => run(JobChange.remove, { done: "are deleted", previewed: "would be deleted" }, optionsOf(flags))
).pipe(
  Command.withDescription("Delete jobs that nobody runs, without a trace; dead letters with --state dead, or by id")
)

/** Seconds of the units that a rate may be said in. */
const perSeconds = { s: 1, m: 60, h: 3600 } as const

const rateOf = (text: string): number | null | undefined => {
  if (text === "off") return null
  const [, amount, unit = "s"] = /^(\d+(?:\.\d+)?)(?:\/(s|m|h))?$/u.exec(text) ?? []
  return amount === undefined ? undefined : Number(amount) / perSeconds[unit as keyof typeof perSeconds]
}

const rate = Command.make("rate", {
  queue: queueName,
  rate: Argument.String("rate").pipe(Argument.withDescription("Such as 10/s, 600/m or 5/h; off for no limit"))
}, ({ queue, rate }) =>
  Effect.gen(function*() {
    const perSecond = rateOf(rate)
    const expected = "such as 10/s, 600/m, 5/h, or off"
    if (perSecond === undefined) {
      return yield* new JobOptionInvalid({ where: `${where} rate`, option: "rate", given: rate, expected })
    }
    yield* KnownQueue.check(queue)
    const admin = yield* JobAdmin
    yield* admin.setRate(queue, perSecond)
    return yield* Console.log(
      perSecond === null ? `${queue}: no limit` : `${queue}: at most ${rate}, over all processes`
    )
  })).pipe(Command.withDescription("Limit how many jobs of a queue begin in a time, over all processes"))

export const commands = [runNow, priority, reschedule, remove, rate] as const
