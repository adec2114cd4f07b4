/**
 * What to fetch, from arguments, a file or standard input: a URL a line, NDJSON, or CSV with a `url` column.
 *
 * A line that cannot be understood is a value like the others; the rest goes on.
 */
import { Effect, FileSystem, Result, Schema, Stdio, Stream } from "effect"
import type { InvalidRequest } from "../../services/fetch/FetchError.ts"
import * as FetchRequest from "../../services/fetch/FetchRequest.ts"
import * as CsvRow from "./CsvRow.ts"
import { type Line, lineLengthMax, lines } from "./Lines.ts"

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
  /\.csv$/i.test(file) ? "csv" : /\.(ndjson|jsonl)$/i.test(file) ? "ndjson" : "detect"

/** What requests have that do not say otherwise. */
export interface Defaults {
  readonly method?: FetchRequest.Method | undefined
}

const decodeJson = Schema.decodeUnknownResult(Schema.fromJsonString(Schema.Json))
const decodeRequest = Schema.decodeUnknownResult(FetchRequest.FetchRequest)

const blank = /^[ \t]*(#|$)/

/** Around a URL, and no part of it: not what other scripts have for spaces, which a URL may end with. */
const trim = (text: string): string => text.replaceAll(/^[ \t]+|[ \t]+$/g, "")

/** Reads one line after another; CSV needs to remember where its column is, and a quoted cell may go on in the next line. */
class Reader {
  private readonly source: string
  private readonly defaults: Defaults
  private format: Format
  private header: CsvRow.Header | undefined
  private isFirst = true
  private open: { readonly number: number; readonly text: string } | undefined

  constructor(source: string, format: Format, defaults: Defaults) {
    this.source = source
    this.format = format
    this.defaults = defaults
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
    } else this.accept(line.number, { url: trim(line.text) }, out)
  }

  /** The input has ended. */
  end(out: Array<Input>): void {
    if (this.open !== undefined) this.refuse(this.open.number, "quoted cell has no closing quote", out)
  }

  private readJson(number: number, text: string, out: Array<Input>): void {
    const json = decodeJson(text)
    const written = Result.isSuccess(json) ? inCapitals(json.success) : undefined
    const request = written === undefined ? undefined : decodeRequest(written)
    if (request !== undefined && Result.isSuccess(request)) this.accept(number, request.success, out)
    else this.refuse(number, written === undefined ? `not JSON; ${example}` : `${wrongIn(written)}; ${example}`, out)
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
    else this.accept(open.number, { url }, out)
  }

  private accept(number: number, request: FetchRequest.FetchRequest, out: Array<Input>): void {
    const { method } = this.defaults
    const target = FetchRequest.parseTarget(
      request.method !== undefined || method === undefined ? request : { ...request, method }
    )
    if (Result.isSuccess(target)) out.push(Result.succeed(target.success))
    else this.refuse(number, problemOf(target.failure), out)
  }

  private refuse(line: number, problem: string, out: Array<Input>): void {
    out.push(Result.fail(new MalformedLine({ source: this.source, line, problem })))
  }
}

const example = "write it as {\"url\": \"https://host/path\"}, with \"method\", \"headers\" and \"body\" if you like"

/** A method may be written in small letters, as `fetch` has it. */
const inCapitals = (request: Schema.Json): Schema.Json => {
  if (!isObject(request)) return request
  const { method } = request
  return typeof method === "string" ? { ...request, method: method.toUpperCase() } : request
}

const isObject = (json: Schema.Json): json is Schema.JsonObject =>
  typeof json === "object" && json !== null && !Array.isArray(json)

/** Which part of a request is not as it should be. */
const wrongIn = (request: Schema.Json): string => {
  if (!isObject(request)) return "not a request"
  const { body, method, url } = request
  if (typeof url !== "string") return "has no \"url\", or one that is no text"
  if (method !== undefined && !Schema.is(FetchRequest.Method)(method)) {
    return `method ${JSON.stringify(method)?.slice(0, 40)} is none of ${FetchRequest.Method.literals.join(", ")}`
  }
  return body !== undefined && typeof body !== "string"
    ? "\"body\" is no text"
    : "\"headers\" is not an object of names and texts"
}

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
        problem: error.reason._tag === "NotFound" ? "there is no such file" : error.reason.message
      })
    ),
    decode(file, formatOf(file), defaults)
  )

/** Standard input. */
export const fromStdin = (defaults: Defaults = {}): Stream.Stream<Input, InputError, Stdio.Stdio> =>
  Stream.unwrap(Effect.map(Stdio.Stdio, (stdio) => stdio.stdin)).pipe(
    Stream.mapError((error) => new InputError({ source: "stdin", problem: error.reason.message })),
    decode("stdin", "detect", defaults)
  )
