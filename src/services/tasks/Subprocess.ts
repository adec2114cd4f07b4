import { type Duration, Effect, Schema, Stream } from "effect"
import type { PlatformError } from "effect/PlatformError"
import * as ChildProcess from "effect/process/ChildProcess"
import * as ChildProcessSpawner from "effect/process/ChildProcessSpawner"
import { duration, wholeNumber } from "./InvalidOption.ts"
import * as Tasks from "./Tasks.ts"

/** The program ended with another code than zero. */
export class SubprocessFailed extends Schema.TaggedError<SubprocessFailed>()("SubprocessFailed", {
  command: Schema.String,
  exitCode: Schema.Int,
  /** The end of what it wrote to its error output. */
  stderr: Schema.String
}) {
  override get message(): string {
    return withStderr(`${this.command} ended with code ${this.exitCode}`, this.stderr)
  }
}

/** The program was ended by a signal that this task did not send: the kernel's out-of-memory killer, a crash, an operator. */
export class SubprocessKilled extends Schema.TaggedError<SubprocessKilled>()("SubprocessKilled", {
  command: Schema.String,
  /** "SIGKILL", "SIGSEGV", ... */
  signal: Schema.String,
  /** The end of what it wrote to its error output. */
  stderr: Schema.String
}) {
  override get message(): string {
    return withStderr(`${this.command} was killed by ${this.signal}`, this.stderr)
  }
}

/** The program could not be started, or its output not be read. */
export class SubprocessUnavailable extends Schema.TaggedError<SubprocessUnavailable>()("SubprocessUnavailable", {
  command: Schema.String,
  cause: Schema.Defect()
}) {
  override get message(): string {
    return `${this.command} could not be run${this.cause instanceof Error ? `: ${this.cause.message}` : ""}`
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
  /**
   * How much of each output is kept, from its end.
   *
   * @default 1_048_576
   */
  readonly maxOutputBytes?: number | undefined
}

const withStderr = (what: string, stderr: string): string => {
  const said = stderr.trim()
  return said === "" ? what : `${what}: ${said}`
}

const stderrMax = 2000

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
  SubprocessFailed | SubprocessKilled | SubprocessUnavailable,
  ChildProcessSpawner.ChildProcessSpawner
> => {
  const line = commandLine(command, args)
  return Effect.gen(function*() {
    const maxBytes = wholeNumber("Subprocess maxOutputBytes", options?.maxOutputBytes ?? 1_048_576, 0)
    const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
    const child = yield* spawner.spawn(
      ChildProcess.make(command, args, {
        stdin: "ignore",
        killSignal: "SIGTERM",
        forceKillAfter: duration("Subprocess grace", options?.grace ?? "5 seconds"),
        extendEnv: true,
        ...(options?.cwd === undefined ? {} : { cwd: options.cwd }),
        ...(options?.env === undefined ? {} : { env: options.env })
      })
    )
    const output = yield* Effect.all(
      { stdout: tail(child.stdout, maxBytes), stderr: tail(child.stderr, maxBytes) },
      { concurrency: 2 }
    )
    const end = yield* Effect.catchIf(
      child.exitCode,
      (error) => signalOf(error) !== undefined,
      (error) => Effect.succeed(signalOf(error) ?? "")
    )
    return { end, output }
  }).pipe(
    Effect.scoped,
    Effect.mapError((cause) => new SubprocessUnavailable({ command: line, cause })),
    Effect.flatMap(({ end, output }): Effect.Effect<Output, SubprocessFailed | SubprocessKilled> => {
      if (end === 0) return Effect.succeed(output)
      const said = { command: line, stderr: output.stderr.slice(-stderrMax) }
      return typeof end === "number"
        ? new SubprocessFailed({ ...said, exitCode: end })
        : new SubprocessKilled({ ...said, signal: end })
    }),
    Effect.withSpan("Subprocess.run", { attributes: { command } }),
    Tasks.named(line)
  )
}

/** The spawner tells the signal in words only. */
const signalOf = (error: PlatformError): string | undefined =>
  error.reason.cause instanceof Error
    ? /receipt of signal: '(SIG\w+)'/u.exec(error.reason.cause.message)?.[1]
    : undefined

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
          return new TextDecoder().decode(bytes.subarray(wholeCharacters(bytes, Math.max(0, size - maxBytes))))
        })
      )
  })

/** The first start of a character from there: UTF-8 continues a character with at most three bytes of the form 10xxxxxx. */
const wholeCharacters = (bytes: Uint8Array, from: number): number => {
  const last = from === 0 ? 0 : from + 3
  let at = from
  while (at < last && ((bytes[at] ?? 0) & 0xc0) === 0x80) at++
  return at
}
