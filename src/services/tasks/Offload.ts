import { Context, type Effect, Schema } from "effect"

/** The thread that ran the work ended before the work did. */
export class ThreadCrashed extends Schema.TaggedError<ThreadCrashed>()("ThreadCrashed", {
  job: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `the thread that ran ${this.job} ended: ${this.detail}`
  }
}

/** So many jobs wait already that no more are taken. */
export class OffloadFull extends Schema.TaggedError<OffloadFull>()("OffloadFull", {
  job: Schema.String,
  maxQueued: Schema.Int
}) {
  override get message(): string {
    return `${this.job} was not taken: no thread is free, and ${this.maxQueued} jobs wait for one already`
  }
}

/** The job died: a defect in its code, in its input or in what it gave back. */
export class JobDied extends Schema.TaggedError<JobDied>()("JobDied", {
  job: Schema.String,
  detail: Schema.String
}) {
  override get message(): string {
    return `${this.job} died on its thread: ${this.detail}`
  }
}

/** What can go wrong beside the work's own failures. */
export type OffloadError = ThreadCrashed | OffloadFull | JobDied

/**
 * Work for another thread. Define it at the top level of a module and export it: the thread imports the same module
 * and finds it by its name. What goes over is what the schemas encode.
 */
export interface Job<in out I, in out A, in out E, EncodedI = unknown, EncodedA = unknown, EncodedE = unknown> {
  readonly name: string
  /** The module that exports the job: `import.meta.url`. */
  readonly module: string
  readonly input: Schema.Codec<I, EncodedI>
  readonly output: Schema.Codec<A, EncodedA>
  readonly error: Schema.Codec<E, EncodedE>
  readonly run: (input: I) => Effect.Effect<A, E>
}

/** Defines a job. A job that can fail has a schema for its error; without one it cannot fail. */
export const job = <I, A, E = never, EI = unknown, EA = unknown, EE = unknown>(definition: {
  readonly name: string
  readonly module: string
  readonly input: Schema.Codec<I, EI>
  readonly output: Schema.Codec<A, EA>
  /** @default Schema.Never */
  readonly error?: Schema.Codec<E, EE> | undefined
  // The schema alone says what the job fails with: an error that it does not describe could not be sent.
  readonly run: (input: I) => Effect.Effect<A, NoInfer<E>>
}): Job<I, A, E> => ({
  ...definition,
  // Without a schema the error type is `never`, which is what Schema.Never describes.
  error: definition.error ?? Schema.Never
})

/**
 * Runs CPU-bound or blocking work away from the event loop. What goes there and back is copied, services and closures do
 * not go. Interrupting the effect stops the work: it is asked first, and its thread is terminated and replaced when it does
 * not listen. A native call cannot be stopped by anybody: its thread is left to end by itself.
 */
export class Offload extends Context.Service<Offload, {
  readonly run: <I, A, E>(job: Job<I, A, E>, input: I) => Effect.Effect<A, E | OffloadError>
  /** Figures of this moment. */
  readonly stats: Effect.Effect<{
    readonly threads: number
    readonly busy: number
    readonly queued: number
    /** Threads that were terminated and have not ended yet: they are in a native call. */
    readonly ending: number
  }>
}>()("sluice/services/tasks/Offload") {}
