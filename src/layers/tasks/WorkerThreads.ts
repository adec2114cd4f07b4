import { Cause, Deferred, Duration, Effect, Exit, Layer, Schema, type Scope } from "effect"
import * as Os from "node:os"
import * as FairSemaphore from "../../services/tasks/FairSemaphore.ts"
import * as InvalidOption from "../../services/tasks/InvalidOption.ts"
import {
  type Job,
  JobDied,
  Offload,
  type OffloadError,
  OffloadFull,
  ThreadCrashed
} from "../../services/tasks/Offload.ts"
import * as Tasks from "../../services/tasks/Tasks.ts"
import type { FromThread, ToThread } from "./ThreadProtocol.ts"
import { describe, ThreadGone, WorkerHandle } from "./WorkerHandle.ts"

/** How many threads, how long a line, how patient. */
export interface Options {
  /**
   * Threads are started when first needed and kept.
   *
   * @default the processors but one, at least 1
   */
  readonly threads?: number | undefined
  /**
   * Jobs that may wait for a thread; more fail with `OffloadFull`. With 0 a job is taken only while a thread is free.
   *
   * @default 1024
   */
  readonly maxQueued?: number | undefined
  /**
   * How long an interrupted job may take to stop by itself, before its thread is terminated; and how long its thread may
   * then take to end, before it is left to end by itself. An interruption waits at most twice as long.
   *
   * @default "100 millis"
   */
  readonly grace?: Duration.Input | undefined
  /**
   * How many terminated threads may still be ending, in a native call that cannot be stopped, beside those that work. When
   * there are more, jobs wait for one of them to end.
   *
   * @default as many as `threads`
   */
  readonly maxEnding?: number | undefined
  /** The heap of a thread; a job that needs more crashes its thread. */
  readonly maxHeapMegabytes?: number | undefined
}

/**
 * `Offload` on worker threads of this process: one job at a time for each thread. Closing the layer terminates them, and
 * waits at most a second for those that are in a native call (but Node itself waits for them when the process exits).
 */
export const layer = (options?: Options): Layer.Layer<Offload> => Layer.effect(Offload, make(options))

const closeGrace = Duration.seconds(1)

const settingsOf = (options: Options | undefined) => {
  const threads = InvalidOption.wholeNumber(
    "WorkerThreads threads",
    options?.threads ?? Math.max(1, Os.availableParallelism() - 1),
    1
  )
  const heap = options?.maxHeapMegabytes
  return {
    threads,
    maxQueued: InvalidOption.limit("WorkerThreads maxQueued", options?.maxQueued ?? 1024, 0),
    grace: InvalidOption.duration("WorkerThreads grace", options?.grace ?? "100 millis"),
    maxEnding: InvalidOption.wholeNumber("WorkerThreads maxEnding", options?.maxEnding ?? threads, 0),
    maxHeapMegabytes: heap === undefined ? heap : InvalidOption.wholeNumber("WorkerThreads maxHeapMegabytes", heap, 1)
  }
}

type Settings = ReturnType<typeof settingsOf>

/** The threads that there are: never more than may work and may be ending. */
class Pool {
  private readonly settings: Settings
  private readonly slots: FairSemaphore.FairSemaphore
  private readonly idle: Array<WorkerHandle> = []
  private readonly live = new Set<WorkerHandle>()
  private isClosed = false

  constructor(settings: Settings) {
    this.settings = settings
    this.slots = FairSemaphore.makeUnsafe(settings.threads + settings.maxEnding, { name: "threads that are ending" })
  }

  get counts() {
    const ending = Array.from(this.live).filter((thread) => thread.isGone).length
    return { threads: this.live.size - ending, ending }
  }

  get take(): Effect.Effect<WorkerHandle, ThreadGone> {
    return Effect.suspend(() => {
      let thread = this.idle.pop()
      while (thread?.isGone === true) thread = this.idle.pop()
      return thread === undefined ? this.spawn : Effect.succeed(thread)
    })
  }

  giveBack(thread: WorkerHandle): void {
    if (!thread.isGone) this.idle.push(thread)
  }

  /** A fiber for each thread holds its slot until it has ended, whoever waits for it. */
  private get spawn(): Effect.Effect<WorkerHandle, ThreadGone> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        const spawned = Deferred.makeUnsafe<WorkerHandle, ThreadGone>()
        let isAwaited = true
        const life = Effect.suspend(() => {
          if (this.isClosed) return Deferred.fail(spawned, new ThreadGone({ detail: "the pool was closed" }))
          return Effect.matchEffect(WorkerHandle.make(this.settings.maxHeapMegabytes), {
            onFailure: (gone) => Deferred.fail(spawned, gone),
            onSuccess: (thread) => {
              this.live.add(thread)
              if (isAwaited) Deferred.doneUnsafe(spawned, Exit.succeed(thread))
              else this.idle.push(thread)
              return Effect.ensuring(Deferred.await(thread.ended), Effect.sync(() => this.live.delete(thread)))
            }
          })
        })
        const held = this.slots.withPermit(Effect.uninterruptible(life))
        return Effect.flatMap(Effect.forkDetach(held, { startImmediately: true }), (fiber) =>
          Effect.onInterrupt(restore(Deferred.await(spawned)), () =>
            Effect.sync(() => {
              isAwaited = false
              // It ends if it waits for its slot; a thread that has begun is kept for the next job.
              fiber.interruptUnsafe(undefined)
            })))
      })
    )
  }

  get close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.isClosed = true
      const ends = Array.from(this.live, (thread) => thread.terminate("the pool was closed", closeGrace))
      return Effect.andThen(
        Effect.all(ends, { concurrency: "unbounded", discard: true }),
        Effect.suspend(() =>
          this.live.size === 0
            ? Effect.void
            : Effect.logWarning(`${this.live.size} worker threads are in native calls: left to end by themselves`)
        )
      )
    })
  }
}

const make = Effect.fnUntraced(function*(
  options: Options | undefined
): Effect.fn.Return<Offload["Service"], never, Scope.Scope> {
  const settings = settingsOf(options)
  const { grace, maxQueued } = settings
  const permits = yield* FairSemaphore.make(settings.threads, { name: "worker threads" })
  const pool = yield* Effect.acquireRelease(Effect.sync(() => new Pool(settings)), (pool) => pool.close)
  let lastId = 0

  const onThread = (job: { readonly name: string }, message: (id: number) => ToThread) =>
    Effect.acquireUseRelease(
      pool.take,
      (thread) => thread.ask(message(++lastId), grace),
      (thread) => Effect.sync(() => pool.giveBack(thread))
    ).pipe(
      Effect.mapError(({ _tag, detail }) =>
        _tag === "NotSent"
          ? new JobDied({ job: job.name, detail: `its input cannot be sent to another thread: ${detail}` })
          : new ThreadCrashed({ job: job.name, detail })
      )
    )

  const isFull = Effect.map(
    permits.stats,
    ({ taken, total, waiting }) => taken >= total && waiting >= maxQueued
  )

  const run = <I, A, E>(job: Job<I, A, E>, input: I): Effect.Effect<A, E | OffloadError> =>
    Effect.gen(function*() {
      const encoded = yield* coded(job.name, "its input", Schema.encodeEffect(job.input)(input))
      if (yield* isFull) return yield* new OffloadFull({ job: job.name, maxQueued })
      const reply: FromThread = yield* permits.withPermit(
        onThread(job, (id) => ({ _tag: "Run", id, module: job.module, name: job.name, input: encoded }))
      )
      if (reply._tag === "Succeeded") {
        return yield* coded(job.name, "its output", Schema.decodeUnknownEffect(job.output)(reply.output))
      }
      if (reply._tag === "Failed") {
        const error = yield* coded(job.name, "its error", Schema.decodeUnknownEffect(job.error)(reply.error))
        return yield* Effect.fail(error)
      }
      return yield* new JobDied({
        job: job.name,
        detail: reply._tag === "Died" ? reply.detail : "it interrupted itself"
      })
    }).pipe(Effect.withSpan("Offload.run", { attributes: { job: job.name } }), Tasks.named(() => `offload ${job.name}`))

  return Offload.of({
    run,
    stats: Effect.map(permits.stats, ({ taken, waiting }) => ({ ...pool.counts, busy: taken, queued: waiting }))
  })
})

/** A schema that does not fit, or whose transformation throws, is a bug in the job. */
const coded = <A>(job: string, what: string, self: Effect.Effect<A, unknown>): Effect.Effect<A, JobDied> =>
  Effect.catchCause(self, (cause) => new JobDied({ job, detail: `${what}: ${describe(Cause.squash(cause))}` }))
