import { Effect, Schema } from "effect"
import * as Offload from "../../src/services/tasks/Offload.ts"

export class Odd extends Schema.TaggedError<Odd>()("Odd", { n: Schema.Int }) {}

export const half = Offload.job({
  name: "half",
  module: import.meta.url,
  input: Schema.Int,
  output: Schema.Int,
  error: Odd,
  run: (n) => n % 2 === 0 ? Effect.succeed(n / 2) : new Odd({ n })
})

export const threadId = Offload.job({
  name: "threadId",
  module: import.meta.url,
  input: Schema.Void,
  output: Schema.Int,
  run: () => Effect.promise(() => import("node:worker_threads").then((threads) => threads.threadId))
})

/** Never returns and never hears an interruption. */
export const spin = Offload.job({
  name: "spin",
  module: import.meta.url,
  input: Schema.instanceOf(SharedArrayBuffer),
  output: Schema.Void,
  run: (started) =>
    Effect.sync(() => {
      Atomics.store(new Int32Array(started), 0, 1)
      Atomics.notify(new Int32Array(started), 0)
      for (;;) { /* a computation that does not end */ }
    })
})

/** Waits, and marks in the shared memory that it was interrupted. */
export const polite = Offload.job({
  name: "polite",
  module: import.meta.url,
  input: Schema.instanceOf(SharedArrayBuffer),
  output: Schema.Void,
  run: (shared) => {
    const marks = new Int32Array(shared)
    Atomics.store(marks, 0, 1)
    Atomics.notify(marks, 0)
    return Effect.onInterrupt(Effect.never, () =>
      Effect.sync(() => {
        Atomics.store(marks, 1, 1)
      }))
  }
})

export const crash = Offload.job({
  name: "crash",
  module: import.meta.url,
  input: Schema.Void,
  output: Schema.Void,
  run: () => Effect.promise(() => import("node:process").then((process) => process.exit(7)))
})

export const dies = Offload.job({
  name: "dies",
  module: import.meta.url,
  input: Schema.Void,
  output: Schema.Void,
  run: () => Effect.die("a bug in the job")
})

export const hoard = Offload.job({
  name: "hoard",
  module: import.meta.url,
  input: Schema.Void,
  output: Schema.Void,
  run: () =>
    Effect.sync(() => {
      const kept: Array<Array<number>> = []
      for (;;) kept.push(Array.from({ length: 100_000 }, (_, i) => i))
    })
})
