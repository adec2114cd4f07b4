/**
 * What a fetch came to, for people: a table by outcome, and what to do about the rest: `goOn` is the line that goes on with the run.
 */
import { bold, count, dim, green, red, yellow } from "../terminal/Style.ts"
import { clock, lines, size } from "./Progress.ts"
import type { RunMeter } from "./RunMeter.ts"
import type { RunReport } from "./RunReport.ts"

const line = ({ done, durationMillis, meter }: RunReport): string => {
  const seconds = durationMillis / 1000
  return [
    `${count(done)} ${done === 1 ? "URL" : "URLs"} in ${seconds < 60 ? `${seconds.toFixed(1)} s` : clock(seconds)}`,
    `${count(done / Math.max(0.001, seconds))}/s`,
    size(meter.bytes),
    `${count(meter.requests)} requests`
  ].join(", ")
}

/** Less is not worth a line. */
const waitedMinMillis = 1000

/** What is left to do, and how. */
const next = ({ counts, done, stopped }: RunReport, goOn: string): ReadonlyArray<string> => {
  const waiting = counts.pending + counts.leased - counts.deferred
  const isDone = done + waiting + counts.deferred + counts.failed === 0 && counts.done > 0
  return [
    ...(stopped === "deadline" ? [yellow("the deadline of the run has passed")] : []),
    ...(waiting > 0 ? [`${count(waiting)} left to fetch: ${bold(goOn)}`] : []),
    ...(counts.deferred > 0 ? [`${count(counts.deferred)} may be asked again later: ${bold(goOn)}`] : []),
    ...(counts.failed > 0 ? [`${count(counts.failed)} failed: ${bold(`${goOn} --retry-failed`)}`] : []),
    ...(isDone ? [`all of it is done; to fetch it again: ${bold(`${goOn} --again`)}`] : [])
  ]
}

/** What is to be said of the input, and of the wait for hosts. */
export const notes = ({ meter, name }: Pick<RunReport, "meter" | "name">): ReadonlyArray<string> => [
  ...(meter.waitedMillis < waitedMinMillis
    ? []
    : [yellow(`waited ${clock(meter.waitedMillis / 1000)} for blocked hosts`)]),
  ...(meter.repeated > 0 ? [`${lines(meter.repeated)} of the input repeat others`] : []),
  ...(meter.known > 0 ? [`${lines(meter.known)} of the input known to run ${name} already`] : []),
  ...(meter.malformed > 0 ? [red(`${lines(meter.malformed)} of the input malformed`)] : [])
]

/** What to say when the run ends before its work does: interrupted, or stopped by its surroundings. */
export const cutShort = (
  how: "interrupted" | "stopped" | "its reader has gone",
  { done, isInputDone }: RunMeter,
  goOn: string
): string =>
  `${how}; ${count(done)} recorded here.${isInputDone ? "" : " The input was not read to its end."} Go on with: ${goOn}`

/** The table: one row for each way in which outcomes ended, the most frequent first. */
export const table = (report: RunReport, goOn: string): ReadonlyArray<string> => {
  const { meter } = report
  const rows = Array.from(meter.tags).toSorted(([, a], [, b]) => b.count - a.count)
  const share = (part: number) => `${((part / Math.max(1, report.done)) * 100).toFixed(1)} %`
  return [
    ...(rows.length === 0 ? [] : [dim(`  ${"outcome".padEnd(22)}${"URLs".padStart(12)}${"share".padStart(10)}`)]),
    ...rows.map(([tag, { count: many, message }]) =>
      `  ${(tag === "ok" ? green : red)(tag.padEnd(22))}${count(many).padStart(12)}${share(many).padStart(10)}  ${
        dim(message)
      }`
    ),
    ...(rows.length === 0 ? [] : [""]),
    `  ${line(report)}`,
    ...[...notes(report), ...next(report, goOn)].map((text) => `  ${text}`)
  ]
}

/** The same in a line or so, where there is no terminal. */
export const brief = (report: RunReport, goOn: string): ReadonlyArray<string> => {
  const { meter, name } = report
  const tags = Array.from(meter.tags)
    .filter(([tag]) => tag !== "ok")
    .toSorted(([, a], [, b]) => b.count - a.count)
    .map(([tag, { count: many }]) => `${many} ${tag}`)
  return [
    `run ${name}: ${line(report)}: ${[`${meter.ok} ok`, ...tags].join(", ")}`,
    ...notes(report),
    ...next(report, goOn)
  ]
}
