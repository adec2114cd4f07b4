/**
 * What to fetch, from arguments, files or standard input: a URL a line, NDJSON, or CSV with a `url` column; also compressed by gzip.
 *
 * Each request is labelled with its line, its `id` and the other fields of its line. A line that cannot be understood is a value like the
 * others; the rest goes on.
 */
import { Effect, FileSystem, Result, Schema, Stdio, Stream } from "effect"
import type { InvalidRequest } from "../../services/fetch/FetchError.ts"
import * as FetchRequest from "../../services/fetch/FetchRequest.ts"
import * as FileFault from "../../services/fetch/FileFault.ts"
import * as SystemFault from "../terminal/SystemFault.ts"
import * as CsvRow from "./CsvRow.ts"
import { gunzip } from "./Gunzip.ts"
import { type Line, lineLengthMax, lines } from "./Lines.ts"
import * as RequestLine from "./RequestLine.ts"

/** A line of the input that names nothing to fetch. */
export class MalformedLine extends Schema.TaggedError<MalformedLine>()("MalformedLine", {
  /** File name, `stdin` or `argument`. */
  source: Schema.String,
  line: Schema.Int,
  problem: Schema.String
}) {
  override get message(): string {
    return `${this.source}:${this.line}: ${this.problem}`
  }
}

/** The input cannot be read at all. */
export class InputError extends Schema.TaggedError<InputError>()("InputError", {
  source: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return `cannot read ${this.source}: ${this.problem}`
  }
}

/** One line: something to fetch, or why not. */
export type Input = Result.Result<FetchRequest.FetchTarget, MalformedLine>

/** How lines are to be read; `detect` looks at each one, and at the first for CSV. */
export type Format = "detect" | "ndjson" | "csv"

/** The format that a file's name says. */
export const formatOf = (file: string): Format =>
  /\.csv(\.gz)?$/i.test(file) ? "csv" : /\.(ndjson|jsonl)(\.gz)?$/i.test(file) ? "ndjson" : "detect"

/** What requests have that do not say otherwise, and what of their lines goes along. */
export interface Defaults {
  /** @default "POST" with a body, else "GET" */
  readonly method?: FetchRequest.Method | undefined
  /** For methods that carry one. */
  readonly body?: Body | undefined
  /** Fields of a line that are kept beside its `id`. @default all */
  readonly keep?: ReadonlyArray<string> | undefined
}

/** A body and what it is. */
export interface Body {
  readonly text: string
  /** @default undefined: not said */
  readonly contentType?: string | undefined
}

/** What is kept of a line, in bytes of JSON: it is stored with the URL. */
export const keptMaxBytes = 8192

const blank = /^[ \t]*(#|$)/

/** Around a URL, and no part of it: not what other scripts have for spaces, which a URL may end with. */
const trim = (text: string): string => text.replaceAll(/^[ \t]+|[ \t]+$/g, "")

/** Reads one line after another; CSV needs to remember where its column is, and a quoted cell may go on in the next line. */
class Reader {
  private readonly source: string
  private readonly defaults: Defaults
  private readonly keep: ReadonlySet<string>
  private format: Format
  private header: CsvRow.Header | undefined
  private isFirst = true
  private open: { readonly number: number; readonly text: string } | undefined

  constructor(source: string, format: Format, defaults: Defaults) {
    this.source = source
    this.format = format
    this.defaults = defaults
    this.keep = new Set(defaults.keep)
  }

  read(line: Line, out: Array<Input>): void {
    if (line._tag === "Unreadable") {
      this.open = undefined
      this.isFirst = false
      this.refuse(line.number, line.problem, out)
      return
    }
    if (this.open === undefined && blank.test(line.text)) return
    if (this.isFirst) {
      this.isFirst = false
      if (this.format === "detect" && CsvRow.looksLikeHeader(line.text)) this.format = "csv"
    }
    if (this.format === "csv") this.readRow(line.number, line.text, out)
    else if (this.format === "ndjson" || line.text.trimStart().startsWith("{")) {
      this.readJson(line.number, line.text, out)
    } else this.accept(line.number, { request: { url: trim(line.text) }, fields: {} }, out)
  }

  /** The input has ended. */
  end(out: Array<Input>): void {
    if (this.open !== undefined) this.refuse(this.open.number, "quoted cell has no closing quote", out)
  }

  private readJson(number: number, text: string, out: Array<Input>): void {
    const line = RequestLine.parse(text, this.keep)
    if (Result.isSuccess(line)) this.accept(number, line.success, out)
    else this.refuse(number, line.failure, out)
  }

  private readRow(number: number, text: string, out: Array<Input>): void {
    const open = this.open ?? { number, text: "" }
    const whole = this.open === undefined ? text : `${open.text}\n${text}`
    this.open = undefined
    if (this.header === undefined) {
      const header = CsvRow.header(whole)
      if (Result.isSuccess(header)) this.header = header.success
      else {
        this.refuse(open.number, header.failure, out)
        // Perhaps it is a plain list with the wrong name: then the rest is understood.
        this.format = "detect"
      }
      return
    }
    const row = CsvRow.parse(whole, this.header.delimiter)
    if (row._tag === "Open" && whole.length <= lineLengthMax) {
      this.open = { number: open.number, text: whole }
      return
    }
    if (row._tag !== "Row") {
      this.refuse(open.number, row._tag === "Open" ? "quoted cell has no closing quote" : row.problem, out)
      return
    }
    const url = trim(row.cells[this.header.url] ?? "")
    if (url === "") this.refuse(open.number, "no URL in the \"url\" column", out)
    else this.accept(open.number, { request: { url }, fields: CsvRow.fieldsOf(this.header, row.cells) }, out)
  }

  private accept(number: number, { fields, request }: RequestLine.RequestLine, out: Array<Input>): void {
    const { id, ...others } = fields
    const input = this.kept(others)
    const bytes = id === undefined && input === undefined ? 0 : Buffer.byteLength(JSON.stringify([id, input]))
    if (bytes > keptMaxBytes) {
      this.refuse(
        number,
        `its fields beside the request's have ${bytes} bytes, and ${keptMaxBytes} are kept with a URL: ${choose}`,
        out
      )
      return
    }
    const label = {
      source: this.source,
      line: number,
      ...(id === undefined ? undefined : { id }),
      ...(input === undefined ? undefined : { input })
    }
    const target = FetchRequest.parseTarget({ ...completed(request, this.defaults), label })
    if (Result.isSuccess(target)) out.push(Result.succeed(target.success))
    else this.refuse(number, problemOf(target.failure), out)
  }

  /** The fields that go along; `undefined` when there are none. */
  private kept(fields: Schema.JsonObject): Schema.JsonObject | undefined {
    const kept = this.defaults.keep === undefined
      ? fields
      : Object.fromEntries(Object.entries(fields).filter(([name]) => this.keep.has(name)))
    return Object.keys(kept).length === 0 ? undefined : kept
  }

  private refuse(line: number, problem: string, out: Array<Input>): void {
    out.push(Result.fail(new MalformedLine({ source: this.source, line, problem })))
  }
}

const choose = "choose some with --keep a,b"

/** A request with what it does not say itself. */
const completed = (request: FetchRequest.FetchRequest, { body, method }: Defaults): FetchRequest.FetchRequest => {
  const hasBody = request.body !== undefined || body !== undefined
  const chosen = request.method ?? method ?? (hasBody ? "POST" : undefined)
  const isBare = request.body === undefined && chosen !== "GET" && chosen !== "HEAD"
  const own = body === undefined || !isBare ? undefined : { body: body.text, headers: withType(request, body) }
  return { ...request, ...(chosen === undefined ? undefined : { method: chosen }), ...own }
}

const withType = ({ headers = {} }: FetchRequest.FetchRequest, { contentType }: Body) =>
  contentType === undefined || Object.keys(headers).some((name) => name.toLowerCase() === "content-type")
    ? headers
    : { "content-type": contentType, ...headers }

const problemOf = ({ problem, url }: InvalidRequest): string => `${JSON.stringify(url)}: ${problem}`

/** Reads bytes of a format. */
export const decode = (source: string, format: Format, defaults: Defaults = {}) =>
<E, R>(
  bytes: Stream.Stream<Uint8Array, E, R>
): Stream.Stream<Input, E, R> =>
  lines(bytes).pipe(
    Stream.mapAccumArray(() => new Reader(source, format, defaults), (reader, chunk) => {
      const out: Array<Input> = []
      for (const line of chunk) reader.read(line, out)
      return [reader, out]
    }, {
      onHalt: (reader) => {
        const out: Array<Input> = []
        reader.end(out)
        return out
      }
    })
  )

/** URLs as they stand on the command line. */
export const fromArguments = (urls: ReadonlyArray<string>, defaults: Defaults = {}): Stream.Stream<Input> =>
  Stream.suspend(() => {
    const reader = new Reader("argument", "detect", defaults)
    const out: Array<Input> = []
    urls.forEach((url, index) => reader.read({ _tag: "Text", number: index + 1, text: url }, out))
    return Stream.fromIterable(out)
  })

/** A file, by the format that its name says. */
export const fromFile = (
  file: string,
  defaults: Defaults = {}
): Stream.Stream<Input, InputError, FileSystem.FileSystem> =>
  Stream.unwrap(Effect.map(FileSystem.FileSystem, (files) => files.stream(file))).pipe(
    Stream.mapError((error) =>
      new InputError({
        source: file,
        problem: error.reason._tag === "NotFound"
          ? "there is no such file"
          : FileFault.inWords(SystemFault.platformCodeOf(error))
      })
    ),
    gunzip((problem) => new InputError({ source: file, problem })),
    decode(file, formatOf(file), defaults)
  )

/** Standard input. */
export const fromStdin = (defaults: Defaults = {}): Stream.Stream<Input, InputError, Stdio.Stdio> =>
  Stream.unwrap(Effect.map(Stdio.Stdio, (stdio) => stdio.stdin)).pipe(
    Stream.mapError((error) => new InputError({ source: "stdin", problem: error.reason.message })),
    gunzip((problem) => new InputError({ source: "stdin", problem })),
    decode("stdin", "detect", defaults)
  )
