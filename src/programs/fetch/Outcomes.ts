/**
 * Where outcomes go: NDJSON or CSV, to a file or to standard output, one line a URL, in the order in which they were recorded.
 */
import { ByteSize, Effect, FileSystem, Result, type Schema, type Scope, type Stdio } from "effect"
import type { FetchOutcome } from "../../services/fetch/FetchOutcome.ts"
import { errorOf, failureOf, type OutputClosed, type OutputError } from "../terminal/OutputError.ts"
import * as StandardOutput from "../terminal/StandardOutput.ts"
import * as CsvRow from "./CsvRow.ts"
import * as TornLine from "./TornLine.ts"

/** A place for outcomes. */
export interface Output {
  /** Fails with `OutputClosed` when nobody reads any more. */
  readonly write: (outcomes: ReadonlyArray<FetchOutcome>) => Effect.Effect<void, OutputError | OutputClosed>
  /** Ends when all that was written is out; nothing is written after it. */
  readonly flush: Effect.Effect<void, OutputError | OutputClosed>
}

/** An outcome as a line of NDJSON, fields in a fixed order. */
export const toNdjson = (outcome: FetchOutcome): string =>
  JSON.stringify({
    url: outcome.url,
    method: outcome.method,
    id: outcome.id,
    source: outcome.source,
    line: outcome.line,
    input: outcome.input,
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

/** What is no text is JSON. */
const json = (value: Schema.Json): string | null =>
  value === null || typeof value === "string" ? value : JSON.stringify(value)

const columns: Readonly<Record<string, (outcome: FetchOutcome) => string | number | boolean | null>> = {
  url: ({ url }) => url,
  method: ({ method }) => method,
  id: ({ id }) => json(id),
  source: ({ source }) => source,
  line: ({ line }) => line,
  input: ({ input }) => json(input),
  finalUrl: ({ finalUrl }) => finalUrl,
  ok: ({ ok }) => ok,
  status: ({ status }) => status,
  attempts: ({ attempts }) => attempts,
  bytes: ({ bytes }) => bytes,
  sha256: ({ sha256 }) => sha256,
  contentType: ({ contentType }) => contentType,
  startedAt: ({ startedAt }) => startedAt,
  durationMs: ({ durationMs }) => durationMs,
  savedTo: ({ savedTo }) => savedTo,
  error: ({ error }) => error?._tag ?? null,
  message: ({ error }) => error?.message ?? null
}

/** The head of a CSV file: the same columns in the same order, whatever was fetched. */
export const csvHeader = `${Object.keys(columns).join(",")}\r\n`

const cellsOf = Object.values(columns)

const needsQuotes = /[",\r\n]/

const cell = (value: string | number | boolean | null): string => {
  const text = value === null ? "" : String(value)
  return needsQuotes.test(text) ? `"${text.replaceAll("\"", "\"\"")}"` : text
}

/** An outcome as a row of CSV (RFC 4180), columns as in `csvHeader`. */
export const toCsv = (outcome: FetchOutcome): string => cellsOf.map((of) => cell(of(outcome))).join(",") + "\r\n"

/** Nowhere: outcomes are in the database. */
export const none: Output = { write: () => Effect.void, flush: Effect.void }

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
    flush: Effect.void,
    write: (outcomes) =>
      handle.writeAll(encoder.encode(outcomes.map(encode).join(""))).pipe(
        // Best effort: who appends later mends it too.
        Effect.tapError(() => Effect.ignore(mend)),
        Effect.mapError((error) => failureOf(name, error))
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

/** Standard output, as NDJSON. */
export const stdout: Effect.Effect<Output, never, Stdio.Stdio | Scope.Scope> = Effect.map(
  StandardOutput.open,
  ({ flush, write }) => ({ write: (outcomes) => write(outcomes.map(toNdjson).join("")), flush })
)
