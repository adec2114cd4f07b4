import { Deferred, type Duration, Effect, Exit, Formatter, Schema } from "effect"
import type { PlatformMessage } from "effect/workers/Worker"
import { Worker } from "node:worker_threads"
import * as Grace from "../../services/tasks/Grace.ts"
import type { FromThread, ToThread } from "./ThreadProtocol.ts"

/** The thread ended, or was told to, before it answered. */
export class ThreadGone extends Schema.TaggedError<ThreadGone>()("ThreadGone", { detail: Schema.String }) {}

/** A message that cannot be copied to another thread: it was not sent. */
export class NotSent extends Schema.TaggedError<NotSent>()("NotSent", { detail: Schema.String }) {}

const threadUrl = new URL(
  import.meta.url.endsWith(".ts") ? "./offloadThread.ts" : "./offloadThread.js",
  import.meta.url
)

/** One worker thread, which is asked one thing at a time. */
export class WorkerHandle {
  /** Done when the thread has ended. */
  readonly ended = Deferred.makeUnsafe<void>()
  /** Why it takes no more work, from when it was terminated or has ended. */
  private gone: ThreadGone | undefined = undefined
  private readonly native: Worker
  private pending: Deferred.Deferred<FromThread, ThreadGone> | undefined = undefined

  /** Fails when the system gives no more threads. */
  static make(maxHeapMegabytes: number | undefined): Effect.Effect<WorkerHandle, ThreadGone> {
    return Effect.try({
      try: () => new WorkerHandle(maxHeapMegabytes),
      catch: (cause) => new ThreadGone({ detail: describe(cause) })
    })
  }

  private constructor(maxHeapMegabytes: number | undefined) {
    this.native = new Worker(threadUrl, {
      resourceLimits: maxHeapMegabytes === undefined ? {} : { maxOldGenerationSizeMb: maxHeapMegabytes }
    })
    let crash: unknown
    this.native.on("message", ([kind, reply]: PlatformMessage) => {
      // The thread is of this package: what it sends is what the protocol says.
      if (kind === 1) this.settle(Exit.succeed(reply as FromThread))
    })
    this.native.on("messageerror", () => this.leave("its answer cannot be read"))
    this.native.on("error", (error) => {
      crash = error
    })
    this.native.on("exit", (code) => {
      this.leave(crash === undefined ? `it ended with code ${code}` : describe(crash))
      Deferred.doneUnsafe(this.ended, Exit.void)
    })
  }

  get isGone(): boolean {
    return this.gone !== undefined
  }

  get hasEnded(): boolean {
    return Deferred.isDoneUnsafe(this.ended)
  }

  /**
   * Sends a job and waits for its answer. Interrupted, it tells the thread to cancel the job and gives it the grace to do
   * so; a thread that does not listen is terminated, which takes at most the grace once more.
   */
  ask(message: ToThread, grace: Duration.Duration): Effect.Effect<FromThread, ThreadGone | NotSent> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        if (this.gone !== undefined) return this.gone
        const answer = this.pending = Deferred.makeUnsafe<FromThread, ThreadGone>()
        const cancel = Effect.andThen(
          this.send({ _tag: "Cancel", id: message.id }),
          Effect.flatMap(
            Grace.atMost(Effect.exit(Deferred.await(answer)), grace),
            (stopped) => stopped._tag === "None" ? this.terminate("its job was cancelled", grace) : Effect.void
          )
        )
        return Effect.andThen(
          this.send(message),
          Effect.onInterrupt(restore(Deferred.await(answer)), () => Effect.ignore(cancel))
        )
      })
    )
  }

  /**
   * Ends the thread, and waits for that at most so long: a native call cannot be stopped by anybody. The thread takes no
   * more work in any case.
   */
  terminate(why: string, grace: Duration.Duration): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.leave(why)
      void this.native.terminate()
      // It must not keep a process that has nothing else to do.
      this.native.unref()
      return Effect.asVoid(Grace.atMost(Deferred.await(this.ended), grace))
    })
  }

  private send(message: ToThread): Effect.Effect<void, NotSent> {
    return Effect.try({
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port has no origin
      try: () => this.native.postMessage([0, message]),
      catch: (cause) => new NotSent({ detail: describe(cause) })
    })
  }

  private leave(why: string): void {
    this.gone ??= new ThreadGone({ detail: why })
    this.settle(Exit.fail(this.gone))
  }

  private settle(exit: Exit.Exit<FromThread, ThreadGone>): void {
    if (this.pending !== undefined) Deferred.doneUnsafe(this.pending, exit)
  }
}

/** What an error says; never throws. */
export const describe = (error: unknown): string => error instanceof Error ? error.message : Formatter.format(error)
