import { Effect, Schema, SchemaGetter } from "effect"
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

/** Is in a native call that nobody can stop, for about so long; the file is there when it is. */
export const native = Offload.job({
  name: "native",
  module: import.meta.url,
  input: Schema.Struct({ file: Schema.String, seconds: Schema.Finite }),
  output: Schema.Void,
  run: ({ file, seconds }) =>
    Effect.promise(() => import("node:child_process")).pipe(
      Effect.map((processes) => {
        processes.spawnSync("sh", ["-c", `touch "$1"; exec sleep "$2"`, "sh", file, String(seconds)])
      })
    )
})

/** Gives something back that cannot be copied to another thread. */
export const unsendable = Offload.job({
  name: "unsendable",
  module: import.meta.url,
  input: Schema.Literals(["output", "error"]),
  output: Schema.Unknown,
  error: Schema.Unknown,
  run: (what): Effect.Effect<unknown, unknown> =>
    what === "output" ? Effect.succeed({ method: () => 1 }) : Effect.fail({ method: () => 1 })
})

/** Takes whatever it is given. */
export const anything = Offload.job({
  name: "anything",
  module: import.meta.url,
  input: Schema.Unknown,
  output: Schema.Int,
  run: () => Effect.succeed(1)
})

/** Throws outside of its effect, from a timer. */
export const throwsLater = Offload.job({
  name: "throwsLater",
  module: import.meta.url,
  input: Schema.Void,
  output: Schema.Void,
  run: () =>
    Effect.andThen(
      Effect.sync(() => {
        setTimeout(() => {
          throw new RangeError("thrown by a timer")
        }, 1)
      }),
      Effect.never
    )
})

const throwing = SchemaGetter.transform((): string => {
  throw new TypeError("the schema has a bug")
})

/** Its schema throws where it should encode. */
export const badSchema = Offload.job({
  name: "badSchema",
  module: import.meta.url,
  input: Schema.String.pipe(Schema.decodeTo(Schema.String, { decode: throwing, encode: throwing })),
  output: Schema.Void,
  run: () => Effect.void
})

/** The same, of what it gives back. */
export const badOutput = Offload.job({
  name: "badOutput",
  module: import.meta.url,
  input: Schema.Void,
  output: Schema.String.pipe(Schema.decodeTo(Schema.String, { decode: throwing, encode: throwing })),
  run: () => Effect.succeed("x")
})
