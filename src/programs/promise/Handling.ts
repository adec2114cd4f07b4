/** Handlers that are promises, as the worker runs them. */
import { Duration, Effect, Option, Schedule, Schema } from "effect"
import * as Job from "../../services/jobs/Job.ts"
import { JobDiscard, JobSnooze } from "../../services/jobs/JobError.ts"
import * as JobHandler from "../../services/jobs/JobHandler.ts"
import * as Grace from "../../services/tasks/Grace.ts"
import type { Handler, HandlerOptions } from "./Face.ts"
import { Discard, Snooze } from "./Failures.ts"

/** How long an attempt may go on after its signal was aborted, before the worker goes on without it. */
const abortGraceMillis = 5_000

/** What a kind may differ in. */
export interface KindSettings
  extends Pick<HandlerOptions<never>, "queue" | "timeoutMillis" | "retryMillis" | "history">
{
  readonly keyConcurrency?: number | undefined
}

/** A kind whose payload and result are whatever JSON can say. */
export const kindOf = (name: string, settings: KindSettings) =>
  Job.make(name, {
    payload: Schema.Json,
    success: Schema.Json,
    ...(settings.queue !== undefined && { queue: settings.queue }),
    ...(settings.timeoutMillis !== undefined && { timeout: settings.timeoutMillis }),
    ...(settings.retryMillis !== undefined && { retry: scheduleOf(settings.retryMillis) }),
    ...(settings.history !== undefined && { history: settings.history }),
    ...(settings.keyConcurrency !== undefined && { keyConcurrency: settings.keyConcurrency })
  })

/** The schedule counts from zero. */
const scheduleOf = (retryMillis: (attempt: number) => number): Schedule.Schedule<number, number> =>
  Schedule.addDelay(Schedule.forever, ({ output }) => Effect.sync(() => Duration.millis(retryMillis(output + 1))))

/** As JSON has it: dates are text, what is undefined is left out. Throws what cannot be said in JSON, such as a bigint. */
export const jsonOf = (value: unknown): Schema.Json => {
  const text = JSON.stringify(value)
  return text === undefined ? null : JSON.parse(text)
}

const failureOf = (error: unknown): unknown => {
  if (error instanceof Discard) return new JobDiscard({ detail: error.message })
  return error instanceof Snooze ? new JobSnooze({ delayMillis: Math.max(0, Math.ceil(error.millis)) }) : error
}

/** The handler of one kind. Its promise is waited for when the attempt is cut: a job runs nowhere else while it still runs here. */
export const handlerOf = <P>(name: string, given: Handler<P> | HandlerOptions<P>): JobHandler.Handler<never> => {
  const { run, ...settings } = typeof given === "function" ? { run: given } : given
  return JobHandler.plain(
    kindOf(name, settings),
    (payload, attempt) =>
      Effect.callback<Schema.Json, unknown>((resume) => {
        const controller = new AbortController()
        const context = { ...attempt, signal: controller.signal }
        // Who names the kinds says what their payloads are.
        const ended = Promise.resolve().then(() => run(payload as P, context)).then(jsonOf).then(
          (result) => resume(Effect.succeed(result)),
          (error: unknown) => resume(Effect.fail(failureOf(error)))
        )
        return Effect.suspend(() => {
          controller.abort()
          return Effect.flatMap(
            Grace.atMost(Effect.promise(() => ended), abortGraceMillis),
            Option.match({
              onSome: () => Effect.void,
              onNone: () =>
                Effect.logWarning(
                  `jobs: the handler of "${name}" goes on ${abortGraceMillis} ms after its signal was aborted (job ${attempt.id}): left behind`
                )
            })
          )
        })
      })
  )
}
