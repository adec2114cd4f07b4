import { Cause, Effect, Exit, Fiber, Predicate, Schema } from "effect"
import * as WorkerRunner from "effect/workers/WorkerRunner"
import type { Job } from "../../services/tasks/Offload.ts"
import type { FromThread, ToThread } from "./ThreadProtocol.ts"

/** The loop of a worker thread: runs one job at a time, found by its name in the module that defines it. */
export const serve = Effect.gen(function*() {
  const platform = yield* WorkerRunner.WorkerRunnerPlatform
  const runner = yield* platform.start<FromThread, ToThread>()
  const running = new Map<number, Fiber.Fiber<unknown, unknown>>()
  yield* runner.run((port, message) => {
    if (message._tag === "Cancel") {
      const fiber = running.get(message.id)
      return fiber === undefined ? Effect.void : Fiber.interrupt(fiber)
    }
    return Effect.withFiber((fiber) => {
      running.set(message.id, fiber)
      const answered = Effect.onExit(runJob(message), (exit) => {
        running.delete(message.id)
        return Effect.catchCause(
          Effect.suspend(() => runner.send(port, answer(message.id, exit))),
          // Somebody waits for an answer, whatever it is.
          (cause) => runner.send(port, { _tag: "Died", id: message.id, detail: notSent(cause) })
        )
      })
      // The pool has been told: the runner need not log it again.
      return Effect.ignoreCause(answered)
    })
  })
})

type Run = Extract<ToThread, { readonly _tag: "Run" }>

/** A failure of the job, already encoded. */
class JobFailure {
  readonly encoded: unknown
  constructor(encoded: unknown) {
    this.encoded = encoded
  }
}

const answer = (id: number, exit: Exit.Exit<unknown, JobFailure>): FromThread => {
  if (Exit.isSuccess(exit)) return { _tag: "Succeeded", id, output: exit.value }
  if (Cause.hasInterruptsOnly(exit.cause)) return { _tag: "Interrupted", id }
  const failure = exit.cause.reasons.find(Cause.isFailReason)
  if (failure !== undefined) return { _tag: "Failed", id, error: failure.error.encoded }
  return { _tag: "Died", id, detail: Cause.pretty(exit.cause) }
}

const notSent = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause)
  return `what it gave back cannot be sent to another thread: ${error instanceof Error ? error.message : "no error"}`
}

/** Only what the job itself fails with is typed; a module, an input or an output that is not as declared is a defect. */
const runJob = Effect.fnUntraced(function*(message: Run): Effect.fn.Return<unknown, JobFailure> {
  const job = yield* findJob(message.module, message.name)
  const input = yield* Effect.orDie(Schema.decodeUnknownEffect(job.input)(message.input))
  const output = yield* Effect.matchEffect(job.run(input), {
    onFailure: (error) =>
      Effect.flatMap(
        Effect.orDie(Schema.encodeEffect(job.error)(error)),
        (encoded) => Effect.fail(new JobFailure(encoded))
      ),
    onSuccess: Effect.succeed
  })
  return yield* Effect.orDie(Schema.encodeEffect(job.output)(output))
})

const isJob = (value: unknown): value is Job<unknown, unknown, unknown> =>
  Predicate.hasProperty(value, "run") && Predicate.hasProperty(value, "input") && Predicate.hasProperty(value, "name")

const findJob = Effect.fnUntraced(function*(module: string, name: string) {
  const exports: Record<string, unknown> = yield* Effect.promise(() => import(module))
  const job = Object.values(exports).find((value) => isJob(value) && value.name === name)
  if (!isJob(job)) return yield* Effect.die(`${module} exports no job that is named ${name}`)
  return job
})
