/**
 * Where outcomes go: NDJSON or CSV, to a file or to standard output, one line a URL, in the order in which they were recorded.
 */
import {
  ByteSize,
  type Cause,
  Effect,
  Exit,
  Fiber,
  FileSystem,
  type PlatformError,
  Predicate,
  Queue,
  Result,
  Runtime,
  Schema,
  type Scope,
  Stdio,
  Stream
} from "effect"
import type { FetchOutcome } from "../../services/fetch/FetchOutcome.ts"
import * as FileFault from "../../services/fetch/FileFault.ts"
import { ExitCode } from "../../services/tasks/ExitCode.ts"
import * as CsvRow from "./CsvRow.ts"
import * as TornLine from "./TornLine.ts"

/** A place for outcomes. */
export interface Output {
  /** Fails with `OutputClosed` when nobody reads any more. */
  readonly write: (outcomes: ReadonlyArray<FetchOutcome>) => Effect.Effect<void, OutputError | OutputClosed>
}

/** Outcomes cannot be written to their file, or to standard output; `code` is the system's own (`ENOSPC`). */
export class OutputError extends Schema.TaggedError<OutputError>()("OutputError", {
  file: Schema.String,
  code: Schema.String
}) {
  override get message(): string {
    return `cannot write ${this.file}: ${FileFault.inWords(this.code)}`
  }
  override get [Runtime.errorExitCode](): number {
    return ExitCode.environment
  }
}

/** Nobody reads the output any more (`| head -1`): not a failure, but the end. */
export class OutputClosed {
  readonly _tag = "OutputClosed"
}

/** Batches of lines between the recorder and a slow reader. */
const batchesMax = 16

/** An outcome as a line of NDJSON, fields in a fixed order. */
export const toNdjson = (outcome: FetchOutcome): string =>
  JSON.stringify({
    url: outcome.url,
    finalUrl: outcome.finalUrl,
    ok: outcome.ok,
    status: outcome.status,
    attempts: outcome.attempts,
    bytes: outcome.bytes,
    sha256: outcome.sha256,
    contentType: outcome.contentType,
    startedAt: outcome.startedAt,
    durationMs: outcome.durationMs,
    savedTo: outcome.savedTo,
    error: outcome.error
  }) + "\n"

/** The head of a CSV file. */
export const csvHeader =
  "url,finalUrl,ok,status,attempts,bytes,sha256,contentType,startedAt,durationMs,savedTo,error,message\r\n"

const needsQuotes = /[",\r\n]/

const cell = (value: string | number | boolean | null): string => {
  const text = value === null ? "" : String(value)
  return needsQuotes.test(text) ? `"${text.replaceAll("\"", "\"\"")}"` : text
}

/** An outcome as a row of CSV (RFC 4180), columns as in `csvHeader`. */
export const toCsv = (outcome: FetchOutcome): string =>
  [
    outcome.url,
    outcome.finalUrl,
    outcome.ok,
    outcome.status,
    outcome.attempts,
    outcome.bytes,
    outcome.sha256,
    outcome.contentType,
    outcome.startedAt,
    outcome.durationMs,
    outcome.savedTo,
    outcome.error?._tag ?? null,
    outcome.error?.message ?? null
  ].map(cell).join(",") + "\r\n"

/** Nowhere: outcomes are in the database. */
export const none: Output = { write: () => Effect.void }

/**
 * A file: CSV when its name ends in `.csv`, else NDJSON. `isAppended` keeps what is in it, as a run that goes on wants, but for a last line
 * that
 * was not written to its end: neither a full disk nor a killed process leaves two outcomes in a line.
 */
export const file = Effect.fnUntraced(function*(
  name: string,
  isAppended: boolean
): Effect.fn.Return<Output, OutputError, FileSystem.FileSystem | Scope.Scope> {
  const files = yield* FileSystem.FileSystem
  const isCsv = /\.csv$/i.test(name)
  const mend = TornLine.mend(name, isCsv ? csv : ndjson).pipe(Effect.provideService(FileSystem.FileSystem, files))
  const opened = Effect.gen(function*() {
    if (isAppended) yield* mend
    const handle = yield* files.open(name, { flag: isAppended ? "a" : "w" })
    const isEmpty = !isAppended || ByteSize.isZero((yield* handle.stat).size)
    if (isCsv && isEmpty) yield* handle.writeAll(encoder.encode(csvHeader))
    return handle
  })
  const handle = yield* Effect.mapError(opened, (error) => errorOf(name, error))
  const encode = isCsv ? toCsv : toNdjson
  return {
    write: (outcomes) =>
      handle.writeAll(encoder.encode(outcomes.map(encode).join(""))).pipe(
        // Best effort: who appends later mends it too.
        Effect.tapError(() => Effect.ignore(mend)),
        Effect.mapError((error) => isClosedPipe(error) ? new OutputClosed() : errorOf(name, error))
      )
  }
})

const encoder = new TextEncoder()

const ndjson: TornLine.Format = {
  lead: "{\"url\":",
  end: "\n",
  isWhole: (line) => Result.isSuccess(Result.try(() => JSON.parse(line)))
}

const csv: TornLine.Format = {
  lead: "",
  end: "\r\n",
  isWhole: (line) => {
    const row = CsvRow.parse(line, ",")
    return row._tag === "Row" && row.cells.length === csvHeader.split(",").length
  }
}

/** Standard output, as text. What was written is out when the scope has closed. */
export const stdoutText: Effect.Effect<
  (text: string) => Effect.Effect<void, OutputError | OutputClosed>,
  never,
  Stdio.Stdio | Scope.Scope
> = Effect.gen(function*() {
  const stdio = yield* Stdio.Stdio
  const texts = yield* Queue.bounded<string, Cause.Done>(batchesMax)
  const writer = yield* Effect.forkChild(
    Stream.run(Stream.fromQueue(texts), stdio.stdout({ endOnDone: false })).pipe(
      Effect.mapError((error) => isClosedPipe(error) ? new OutputClosed() : errorOf("standard output", error)),
      // Whoever waits for room must learn that there will be none.
      Effect.onExit(() => Queue.shutdown(texts))
    ),
    { startImmediately: true }
  )
  yield* Effect.addFinalizer(() => Effect.andThen(Queue.end(texts), Fiber.await(writer)))
  const ended = Effect.flatMap(
    Fiber.await(writer),
    (exit) => Exit.isSuccess(exit) ? Effect.fail(new OutputClosed()) : Effect.failCause(exit.cause)
  )
  // The queue of a writer that has ended takes nothing.
  return (text) => Effect.flatMap(Queue.offer(texts, text), (isTaken) => isTaken ? Effect.void : ended)
})

/** Standard output, as NDJSON. */
export const stdout: Effect.Effect<Output, never, Stdio.Stdio | Scope.Scope> = Effect.map(stdoutText, (write) => ({
  write: (outcomes) => write(outcomes.map(toNdjson).join(""))
}))

/** Whether an error is that nobody reads the output any more. */
export const isOutputClosed = (error: unknown): error is OutputClosed => error instanceof OutputClosed

const codeOf = ({ reason }: PlatformError.PlatformError): string =>
  Predicate.hasProperty(reason.cause, "code") ? String(reason.cause.code) : reason._tag

const errorOf = (name: string, error: PlatformError.PlatformError): OutputError =>
  new OutputError({ file: name, code: codeOf(error) })

/** Whether a write failed because the reader has gone. */
const isClosedPipe = (error: PlatformError.PlatformError): boolean =>
  codeOf(error) === "EPIPE" || codeOf(error) === "ERR_STREAM_DESTROYED"
