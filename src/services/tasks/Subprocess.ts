import { Duration, Effect, Schema, Stream } from "effect"
import type { PlatformError } from "effect/PlatformError"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import * as Tasks from "./Tasks.ts"

/** The program ended with another code than zero. */
export class SubprocessFailed extends Schema.TaggedError<SubprocessFailed>()("SubprocessFailed", {
  command: Schema.String,
  exitCode: Schema.Int,
  /** The end of what it wrote to its error output. */
  stderr: Schema.String
}) {
  override get message(): string {
    const said = this.stderr.trim()
    return `${this.command} ended with code ${this.exitCode}${said === "" ? "" : `: ${said}`}`
  }
}

/** The program could not be started, or its output not be read. */
export class SubprocessUnavailable extends Schema.TaggedError<SubprocessUnavailable>()("SubprocessUnavailable", {
  command: Schema.String,
  cause: Schema.Defect()
}) {
  override get message(): string {
    return `${this.command} could not be run`
  }
}

/** What the program wrote: at most `maxOutputBytes` of each output, from its end. */
export interface Output {
  readonly stdout: string
  readonly stderr: string
}

/** How a program is run. */
export interface Options {
  readonly cwd?: string | undefined
  /** Added to the environment of this process. */
  readonly env?: Record<string, string> | undefined
  /**
   * How long it may take to leave after SIGTERM, before SIGKILL.
   *
   * @default "5 seconds"
   */
  readonly grace?: Duration.Input | undefined
  /** @default 1_048_576 */
  readonly maxOutputBytes?: number | undefined
}

const commandLine = (command: string, args: ReadonlyArray<string>): string => [command, ...args].join(" ").slice(0, 200)

/**
 * Runs a program as a task: it is named in the live tree, it is killed (with the processes it started) when the task is
 * cancelled or its deadline passes, and nothing of it is left when the effect ends.
 */
export const run = (
  command: string,
  args: ReadonlyArray<string>,
  options?: Options
): Effect.Effect<
  Output,
  SubprocessFailed | SubprocessUnavailable,
  ChildProcessSpawner.ChildProcessSpawner
> => {
  const line = commandLine(command, args)
  const maxBytes = options?.maxOutputBytes ?? 1_048_576
  return Effect.gen(function*() {
    const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
    const child = yield* spawner.spawn(
      ChildProcess.make(command, args, {
        stdin: "ignore",
        killSignal: "SIGTERM",
        forceKillAfter: options?.grace ?? Duration.seconds(5),
        extendEnv: true,
        ...(options?.cwd === undefined ? {} : { cwd: options.cwd }),
        ...(options?.env === undefined ? {} : { env: options.env })
      })
    )
    const { stderr, stdout } = yield* Effect.all(
      { stdout: tail(child.stdout, maxBytes), stderr: tail(child.stderr, maxBytes) },
      { concurrency: 2 }
    )
    const exitCode = yield* child.exitCode
    return { exitCode, stderr, stdout }
  }).pipe(
    Effect.scoped,
    Effect.mapError((cause) => new SubprocessUnavailable({ command: line, cause })),
    Effect.flatMap(({ exitCode, stderr, stdout }) =>
      exitCode === 0
        ? Effect.succeed({ stdout, stderr })
        : new SubprocessFailed({ command: line, exitCode, stderr: stderr.slice(-2000) })
    ),
    Effect.withSpan("Subprocess.run", { attributes: { command } }),
    Tasks.named(line)
  )
}

/** The last bytes of an output; the program is never held up by a full pipe. */
const tail = (
  output: Stream.Stream<Uint8Array, PlatformError>,
  maxBytes: number
): Effect.Effect<string, PlatformError> =>
  Effect.suspend(() => {
    const chunks: Array<Uint8Array> = []
    let size = 0
    return Stream.runForEach(output, (chunk) =>
      Effect.sync(() => {
        chunks.push(chunk)
        size += chunk.length
        while (chunks.length > 1 && size - (chunks[0]?.length ?? 0) >= maxBytes) size -= chunks.shift()?.length ?? 0
      })).pipe(
        Effect.map(() => {
          const bytes = new Uint8Array(size)
          let at = 0
          for (const chunk of chunks) {
            bytes.set(chunk, at)
            at += chunk.length
          }
          return new TextDecoder().decode(bytes.subarray(Math.max(0, size - maxBytes)))
        })
      )
  })
