/**
 * What `sluice work` runs: crews, each a worker with its handlers. A wing that has jobs adds its crew to the list that the
 * entrypoint hands to {@link work}; nothing else needs to know of it.
 */
import { type Config, Effect, Layer, Schema } from "effect"
import * as Worker from "../layers/jobs/worker/Worker.ts"
import * as Job from "../services/jobs/Job.ts"
import type { JobQueueError } from "../services/jobs/JobError.ts"
import * as JobHandler from "../services/jobs/JobHandler.ts"
import type { JobStore } from "../services/jobs/JobStore.ts"
import type * as JobWorker from "../services/jobs/JobWorker.ts"
import * as HeapPace from "./HeapPace.ts"

/** What the command line says about every crew. */
export interface CrewOptions {
  readonly concurrency: number | undefined
}

/** Handlers that work together, and what they need: `R` is left for the entrypoint to provide. */
export interface Crew<out R> {
  readonly name: string
  readonly worker: (
    options: JobWorker.WorkerOptions
  ) => Layer.Layer<JobWorker.JobWorker, JobQueueError | Config.ConfigError, JobStore | R>
}

/** A kind to try a worker with: waits, then answers its text or fails. `sluice jobs try` enqueues some. */
export const Demo = Job.make("demo", {
  payload: Schema.Struct({
    text: Schema.String,
    takesMillis: Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum: 0, maximum: 600_000 }))),
    fails: Schema.Boolean
  }),
  success: Schema.String,
  error: Schema.Struct({ text: Schema.String }),
  maxAttempts: 3
})

/** The crew of {@link Demo}: there in every worker process. */
export const demo: Crew<never> = {
  name: "demo",
  worker: (options) =>
    Worker.layer([
      JobHandler.plain(Demo, ({ fails, takesMillis, text }) =>
        Effect.delay(fails ? Effect.fail({ text }) : Effect.succeed(text), takesMillis))
    ], options)
}

/** The workers of these crews, each with a place of its own in the fleet and in the task tree. */
export const layer = <R>(
  crews: ReadonlyArray<Crew<R>>,
  options: CrewOptions
): Layer.Layer<never, JobQueueError | Config.ConfigError, JobStore | R> =>
  crews.map((crew) =>
    Layer.effectDiscard(
      // Each crew's layer is built for itself: they all provide the one JobWorker tag.
      Layer.build(crew.worker({
        label: crew.name,
        ...(options.concurrency === undefined ? {} : { concurrency: options.concurrency })
      }))
    )
  ).reduce<Layer.Layer<never, JobQueueError | Config.ConfigError, JobStore | R>>(
    (all, one) => Layer.merge(all, one),
    Layer.empty
  )

/** Works until the program is told to stop; a drain is a step of the current shutdown. */
export const work = <R>(
  crews: ReadonlyArray<Crew<R>>,
  options: CrewOptions
): Effect.Effect<never, JobQueueError | Config.ConfigError, JobStore | R> =>
  HeapPace.relaxed.pipe(
    Effect.andThen(Effect.logInfo(`working: ${crews.map((crew) => crew.name).join(", ")}`)),
    Effect.andThen(Layer.launch(layer(crews, options)))
  )
