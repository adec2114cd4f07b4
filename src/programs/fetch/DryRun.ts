/**
 * What an input would come to, were it fetched: it is read to its end and compared with its run. Nothing is sent, and nothing is written.
 */
import { Effect, Result, Runtime, Schema, Stream } from "effect"
import { hash } from "node:crypto"
import { type FetchTarget, keyOf } from "../../services/fetch/FetchRequest.ts"
import { deferredUntil, Frontier, type OutcomeFilter } from "../../services/fetch/Frontier.ts"
import { ExitCode } from "../../services/tasks/ExitCode.ts"
import { bold, count } from "../terminal/Style.ts"
import { EmptyInput } from "./FetchRun.ts"
import type { Input, MalformedLine } from "./Inputs.ts"
import type { RunMeter } from "./RunMeter.ts"
import * as Summary from "./Summary.ts"

/** Different requests that are remembered, so that a repeated one is known for such. */
const distinctMax = 2_000_000

/** Hosts that are named, those with the most URLs. */
const hostsShown = 10

/** Lines of the input were malformed: exit code 2. Each was named. */
export class MalformedInput extends Schema.TaggedError<MalformedInput>()("MalformedInput", {
  malformed: Schema.Int
}) {
  override get message(): string {
    return `${this.malformed} of the input malformed`
  }
  override get [Runtime.errorExitCode](): number {
    return ExitCode.usage
  }
  /** The report has said it. */
  override get [Runtime.errorReported](): boolean {
    return false
  }
}

/** What is to be looked at. */
export interface DryRunOptions<E, R> {
  readonly name: string
  /** Whether there is a run of that name; otherwise nothing is asked about it. */
  readonly isKnown: boolean
  /** Without one: what the run has. */
  readonly inputs?: Stream.Stream<Input, E, R> | undefined
  /** What would be fetched again of what is recorded. */
  readonly again?: OutcomeFilter | undefined
  readonly onMalformed: (line: MalformedLine) => Effect.Effect<void>
  /** Counts what is new, known, repeated and malformed. */
  readonly meter: RunMeter
}

/** What would be fetched. */
export interface DryRunReport {
  readonly name: string
  readonly isKnown: boolean
  readonly meter: RunMeter
  /** URLs of each host that are new, the most first. */
  readonly hosts: ReadonlyArray<readonly [host: string, urls: number]>
  /** What the run has not fetched yet. */
  readonly left: number
  /** What of it would be fetched again. */
  readonly again: number
  /** Whether there were too many different requests to tell all that repeat others. */
  readonly isRough: boolean
}

/** What of a run would be fetched beside what is new. What may be asked later waits for its time. */
const ofRun = Effect.fnUntraced(function*(name: string, again: OutcomeFilter | undefined) {
  const frontier = yield* Frontier
  const { counts } = yield* frontier.find(name)
  const repeated = again === undefined ? Stream.empty : frontier.outcomes(name, again)
  return {
    left: counts.pending + counts.leased - counts.deferred,
    again: yield* Stream.runCount(Stream.filter(repeated, (outcome) => deferredUntil(outcome) === undefined))
  }
})

/** Reads the input to its end. Fails with `EmptyInput` when it names nothing to fetch. */
export const read = Effect.fn("DryRun.read")(function*<E, R>(options: DryRunOptions<E, R>) {
  const { again, inputs, isKnown, meter, name } = options
  const frontier = yield* Frontier
  const seen = new Set<string>()
  const hosts = new Map<string, number>()
  const isNew = (target: FetchTarget): boolean => {
    // Half a SHA-256 tells as many apart as there may be, and takes a tenth of a URL's room.
    const key = hash("sha256", keyOf(target), "base64").slice(0, 22)
    if (seen.has(key)) return false
    if (seen.size < distinctMax) seen.add(key)
    return true
  }
  const add = Effect.fnUntraced(function*(lines: ReadonlyArray<Input>) {
    const targets: Array<FetchTarget> = []
    for (const line of lines) {
      if (Result.isFailure(line)) {
        meter.malformed++
        yield* options.onMalformed(line.failure)
      } else if (isNew(line.success)) targets.push(line.success)
      else meter.repeated++
    }
    const fresh = isKnown && targets.length > 0 ? yield* frontier.unknown(name, targets) : targets
    meter.known += targets.length - fresh.length
    meter.added += fresh.length
    for (const { host } of fresh) hosts.set(host, (hosts.get(host) ?? 0) + 1)
  })
  if (inputs !== undefined) {
    yield* Stream.runForEachArray(inputs, add)
    if (meter.added + meter.known + meter.repeated === 0) return yield* new EmptyInput({ malformed: meter.malformed })
  }
  const report: DryRunReport = {
    name,
    isKnown,
    meter,
    hosts: Array.from(hosts).toSorted(([, a], [, b]) => b - a),
    ...(isKnown ? yield* ofRun(name, again) : { left: 0, again: 0 }),
    isRough: seen.size >= distinctMax
  }
  return report
})

const urls = (many: number): string => `${count(many)} ${many === 1 ? "URL" : "URLs"}`

/** The report, for people. */
export const lines = (report: DryRunReport): ReadonlyArray<string> => {
  const { again, hosts, isRough, left, meter, name } = report
  const from = hosts.length === 0 ? "" : ` of ${count(hosts.length)} ${hosts.length === 1 ? "host" : "hosts"}`
  return [
    bold(`would fetch ${urls(meter.added)}${from}`),
    ...hosts.slice(0, hostsShown).map(([host, many]) => `  ${host}  ${count(many)}`),
    ...(hosts.length > hostsShown ? [`  and ${count(hosts.length - hostsShown)} more`] : []),
    ...(left > 0 ? [`and ${urls(left)} that run ${name} has left`] : []),
    ...(again > 0 ? [`and ${urls(again)} of run ${name} again`] : []),
    ...Summary.notes(report),
    ...(isRough ? [`only the first ${count(distinctMax)} different requests were compared`] : []),
    "a dry run: nothing was sent, and nothing recorded"
  ]
}

/** Fails when lines were malformed. */
export const complete = ({ meter: { malformed } }: DryRunReport): Effect.Effect<void, MalformedInput> =>
  malformed === 0 ? Effect.void : Effect.fail(new MalformedInput({ malformed }))
