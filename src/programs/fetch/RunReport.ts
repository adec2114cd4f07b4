/**
 * What a run came to.
 */
import { Effect, Runtime, Schema } from "effect"
import type { RunCounts } from "../../services/fetch/Frontier.ts"
import { ExitCode } from "../../services/tasks/ExitCode.ts"
import type { RunMeter } from "./RunMeter.ts"

/** A run as this invocation leaves it. */
export interface RunReport {
  readonly name: string
  readonly meter: RunMeter
  /** URLs that this invocation recorded. */
  readonly done: number
  readonly durationMillis: number
  /** The run as it stands. */
  readonly counts: RunCounts
  /** Why it ended before its work did; `undefined` when the work did. */
  readonly stopped: "deadline" | "output closed" | undefined
}

/** The run ended, and not every URL succeeded: exit code 1. All of it is recorded. */
export class RunIncomplete extends Schema.TaggedError<RunIncomplete>()("RunIncomplete", {
  name: Schema.String,
  failed: Schema.Int,
  left: Schema.Int,
  malformed: Schema.Int
}) {
  override get message(): string {
    const parts = [
      ...(this.failed > 0 ? [`${this.failed} failed`] : []),
      ...(this.left > 0 ? [`${this.left} left to fetch`] : []),
      ...(this.malformed > 0 ? [`${this.malformed} malformed`] : [])
    ]
    return `run ${this.name}: ${parts.join(", ")}`
  }
  override get [Runtime.errorExitCode](): number {
    return ExitCode.someFailed
  }
  /** The summary has said it all. */
  override get [Runtime.errorReported](): boolean {
    return false
  }
}

/** Nobody reads the outcomes any more, and some are still to come: the run has stopped, as a program does that SIGPIPE ends. */
export class OutputGone extends Schema.TaggedError<OutputGone>()("OutputGone", {}) {
  override get message(): string {
    return "nobody reads the output any more"
  }
  override get [Runtime.errorExitCode](): number {
    return ExitCode.outputGone
  }
  /** The summary has said it all. */
  override get [Runtime.errorReported](): boolean {
    return false
  }
}

const leftOf = ({ counts }: RunReport): number => counts.pending + counts.leased

/** Whether the input was read to its end, and nothing of it is left. */
export const isDone = (report: RunReport): boolean => report.meter.isInputDone && leftOf(report) === 0

/** Whether every URL of the run has succeeded, those of earlier invocations too. */
export const isSuccess = (report: RunReport): boolean =>
  report.counts.failed + leftOf(report) + report.meter.malformed === 0

/** Fails unless every URL of the run has succeeded. */
export const complete = (report: RunReport): Effect.Effect<void, RunIncomplete> => {
  const { counts, meter, name } = report
  return isSuccess(report)
    ? Effect.void
    : Effect.fail(
      new RunIncomplete({ name, failed: counts.failed, left: leftOf(report), malformed: meter.malformed })
    )
}
