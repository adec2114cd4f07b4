import * as NodeWorker from "@effect/platform-node/NodeWorker"
import { Cause, Deferred, type Duration, Effect, Exit, Fiber, Layer, Schema, type Scope } from "effect"
import * as Worker from "effect/workers/Worker"
import * as Os from "node:os"
import * as WorkerThreadsModule from "node:worker_threads"
import * as FairSemaphore from "../../services/tasks/FairSemaphore.ts"
import * as Grace from "../../services/tasks/Grace.ts"
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

/** How many threads, how long a line, how patient. */
export interface Options {
  /**
   * Threads are started when first needed and kept.
   *
   * @default the processors but one, at least 1
   */
  readonly threads?: number | undefined
  /**
   * Jobs that may wait for a thread; more fail with `OffloadFull`.
   *
   * @default 1024
   */
  readonly maxQueued?: number | undefined
  /**
   * How long an interrupted job may take to stop by itself, before its thread is terminated.
   *
   * @default "100 millis"
   */
  readonly grace?: Duration.Input | undefined
  /** The heap of a thread; a job that needs more crashes its thread. */
  readonly maxHeapMegabytes?: number | undefined
}

/** `Offload` on worker threads of this process: one job at a time for each thread. */
export const layer = (options?: Options): Layer.Layer<Offload> =>
  Layer.effect(Offload, make(options)).pipe(Layer.provide(NodeWorker.layerPlatform))

const threadUrl = new URL(
  import.meta.url.endsWith(".ts") ? "./offloadThread.ts" : "./offloadThread.js",
  import.meta.url
)

interface Thread {
  readonly send: (message: ToThread) => Effect.Effect<void>
  readonly terminate: Effect.Effect<void>
  answer: Deferred.Deferred<FromThread, ThreadGone>
  isDead: boolean
}

class ThreadGone extends Schema.TaggedError<ThreadGone>()("ThreadGone", { detail: Schema.String }) {}

const make = Effect.fnUntraced(function*(
  options: Options | undefined
): Effect.fn.Return<Offload["Service"], never, Worker.WorkerPlatform | Scope.Scope> {
  const size = Math.max(1, options?.threads ?? Os.availableParallelism() - 1)
  const maxQueued = options?.maxQueued ?? 1024
  const { thread: spawn } = yield* makeSpawn(options)
  const permits = yield* FairSemaphore.make(size, { name: "worker threads" })
  const idle: Array<Thread> = []
  let lastId = 0

  const takeThread = Effect.suspend(() => {
    let thread = idle.pop()
    while (thread?.isDead === true) thread = idle.pop()
    return thread === undefined ? spawn : Effect.succeed(thread)
  })
  const giveBack = (thread: Thread): Effect.Effect<void> =>
    Effect.sync(() => {
      if (!thread.isDead) idle.push(thread)
    })

  const onThread = (name: string, message: (id: number) => ToThread): Effect.Effect<FromThread, ThreadCrashed> =>
    Effect.acquireUseRelease(
      takeThread,
      (thread) =>
        Effect.suspend(() => {
          const id = ++lastId
          const answer = Deferred.makeUnsafe<FromThread, ThreadGone>()
          thread.answer = answer
          if (thread.isDead) return new ThreadGone({ detail: "it ended while it was idle" })
          let isSent = false
          const send = Effect.andThen(
            Effect.sync(() => {
              isSent = true
            }),
            thread.send(message(id))
          )
          return Effect.andThen(Effect.uninterruptible(send), Deferred.await(answer)).pipe(
            // A job that the thread never heard of cannot answer that it stopped.
            Effect.onInterrupt(() => isSent ? stop(thread, id, answer, options?.grace ?? "100 millis") : Effect.void)
          )
        }),
      giveBack
    ).pipe(Effect.mapError((gone) => new ThreadCrashed({ job: name, detail: gone.detail })))

  const run = <I, A, E>(job: Job<I, A, E>, input: I): Effect.Effect<A, E | OffloadError> =>
    Effect.gen(function*() {
      const died = (cause: unknown) => new JobDied({ job: job.name, detail: String(cause) })
      const encoded = yield* Effect.mapError(Schema.encodeEffect(job.input)(input), died)
      if ((yield* permits.stats).waiting >= maxQueued) return yield* new OffloadFull({ job: job.name, maxQueued })
      const reply = yield* permits.withPermit(
        onThread(job.name, (id) => ({ _tag: "Run", id, module: job.module, name: job.name, input: encoded }))
      )
      if (reply._tag === "Succeeded") {
        return yield* Effect.mapError(Schema.decodeUnknownEffect(job.output)(reply.output), died)
      }
      if (reply._tag === "Failed") {
        return yield* Effect.fail(yield* Effect.mapError(Schema.decodeUnknownEffect(job.error)(reply.error), died))
      }
      return yield* died(reply._tag === "Died" ? reply.detail : "it interrupted itself")
    }).pipe(Effect.withSpan("Offload.run", { attributes: { job: job.name } }), Tasks.named(() => `offload ${job.name}`))

  return Offload.of({
    run,
    stats: Effect.map(
      permits.stats,
      ({ taken, waiting }) => ({ threads: idle.length + taken, busy: taken, queued: waiting })
    )
  })
})

/** Asks the job to stop; a thread that is too busy to hear is terminated, and the next job gets a new one. */
const stop = (
  thread: Thread,
  id: number,
  answer: Deferred.Deferred<FromThread, ThreadGone>,
  grace: Duration.Input
): Effect.Effect<void> =>
  Effect.andThen(
    thread.send({ _tag: "Cancel", id }),
    Effect.flatMap(
      Grace.atMost(Effect.exit(Deferred.await(answer)), grace),
      (stopped) => stopped._tag === "None" ? thread.terminate : Effect.void
    )
  )

const makeSpawn = Effect.fnUntraced(function*(
  options: Options | undefined
): Effect.fn.Return<
  { readonly thread: Effect.Effect<Thread, ThreadGone> },
  never,
  Worker.WorkerPlatform | Scope.Scope
> {
  const platform = yield* Worker.WorkerPlatform
  const live = new Set<{ readonly thread: Thread; readonly loop: Fiber.Fiber<unknown, unknown> }>()
  // A busy thread would not hear that it should close: the end of the layer terminates it.
  yield* Effect.addFinalizer(() =>
    Effect.forEach(Array.from(live), ({ loop, thread }) => Effect.andThen(thread.terminate, Fiber.await(loop)), {
      concurrency: "unbounded",
      discard: true
    })
  )
  const resourceLimits = options?.maxHeapMegabytes === undefined
    ? {}
    : { maxOldGenerationSizeMb: options.maxHeapMegabytes }
  const thread = Effect.suspend(() => {
    const native = new WorkerThreadsModule.Worker(threadUrl, { resourceLimits })
    return platform.spawn<FromThread, ToThread>(0).pipe(
      Effect.mapError((error) => new ThreadGone({ detail: error.message })),
      Effect.flatMap((worker) => {
        const thread = makeThread(worker, native)
        const loop = worker.run((message) =>
          Effect.sync(() => Deferred.doneUnsafe(thread.answer, Exit.succeed(message)))
        ).pipe(Effect.onExit((exit) => Effect.sync(() => ended(thread, exit))))
        return Effect.map(Effect.forkDetach(loop, { startImmediately: true }), (fiber) => {
          const entry = { thread, loop: fiber }
          live.add(entry)
          fiber.addObserver(() => live.delete(entry))
          return thread
        })
      }),
      Effect.provideService(Worker.Spawner, () => native)
    )
  })
  return { thread }
})

const makeThread = (worker: Worker.Worker<FromThread, ToThread>, native: WorkerThreadsModule.Worker): Thread => {
  const thread: Thread = {
    // Sending fails only when a message cannot be cloned: then it would be the codec's defect.
    send: (message) => Effect.orDie(worker.send(message)),
    terminate: Effect.asVoid(Effect.promise(() => {
      thread.isDead = true
      return native.terminate()
    })),
    answer: Deferred.makeUnsafe(),
    isDead: false
  }
  return thread
}

const ended = (thread: Thread, exit: Exit.Exit<unknown, unknown>): void => {
  thread.isDead = true
  const detail = Exit.isFailure(exit) ? describe(exit.cause) : "it ended"
  Deferred.doneUnsafe(thread.answer, Exit.fail(new ThreadGone({ detail })))
}

const describe = (cause: Cause.Cause<unknown>): string => {
  if (Cause.hasInterruptsOnly(cause)) return "the pool was closed"
  const error = Cause.squash(cause)
  const inner = error instanceof Error && error.cause instanceof Error ? `: ${error.cause.message}` : ""
  return `${error instanceof Error ? error.message : String(error)}${inner}`
}
