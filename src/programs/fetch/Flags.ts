/**
 * The flags of `sluice fetch`: what they are called, what is right, and the policy that they make.
 */
import { ByteSize, Duration, Effect, Option } from "effect"
import * as Argument from "effect/cli/Argument"
import * as CliError from "effect/cli/CliError"
import * as Flag from "effect/cli/Flag"
import * as FetchPolicy from "../../services/fetch/FetchPolicy.ts"
import { Method } from "../../services/fetch/FetchRequest.ts"
import type { OutcomeFilter } from "../../services/fetch/Frontier.ts"
import * as ShortDuration from "../../services/tasks/ShortDuration.ts"

const invalid = (option: string, value: string, expected: string) =>
  Effect.fail(new CliError.InvalidValue({ option, value, expected, kind: "flag" }))

/** `512B`, `64KiB`, `10MiB`, `2GiB`, `10MB`; `undefined` for anything else. */
export const parseSize = (text: string): ByteSize.ByteSize | undefined =>
  /^\d+\s?(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)$/.test(text) ? Option.getOrUndefined(ByteSize.fromString(text)) : undefined

const duration = (name: string, description: string) =>
  Flag.String(name).pipe(
    Flag.withMetavar("duration"),
    Flag.withDescription(description),
    Flag.mapEffect((text) => {
      const parsed = ShortDuration.parse(text)
      return parsed === undefined || Duration.toMillis(parsed) <= 0
        ? invalid(name, text, "a time such as 250ms, 10s or 2m")
        : Effect.succeed(parsed)
    }),
    Flag.optional
  )

const number = (name: string, alias: string | undefined, description: string, max: number, whole: boolean) => {
  const flag = Flag.String(name).pipe(
    Flag.withMetavar("n"),
    Flag.withDescription(description),
    Flag.mapEffect((text) => {
      const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN
      const least = name === "retries" ? 0 : whole ? 1 : 0.001
      return value >= least && value <= max && (!whole || Number.isInteger(value))
        ? Effect.succeed(value)
        : invalid(name, text, `a ${whole ? "whole " : ""}number from ${least} to ${max.toLocaleString("en-US")}`)
    })
  )
  return Flag.optional(alias === undefined ? flag : Flag.withAlias(flag, alias))
}

const headerLine = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*)$/

/** `K: V` lines as headers by lower-case name; the last one of a name wins. */
const header = Flag.String("header").pipe(
  Flag.withAlias("H"),
  Flag.withMetavar("'K: V'"),
  Flag.withDescription("A request header; may be repeated. Not stored with the run"),
  Flag.between(0, 100),
  Flag.mapEffect((lines) =>
    Effect.map(
      Effect.forEach(lines, (line) => {
        const [, name, value] = headerLine.exec(line) ?? []
        return name === undefined || value === undefined
          ? invalid("header", line, "a name and a value, such as 'Accept: text/html'")
          : Effect.succeed([name.toLowerCase(), value.trim()] as const)
      }),
      (entries): Readonly<Record<string, string>> => Object.fromEntries(entries)
    )
  )
)

const text = (name: string, metavar: string, description: string) =>
  Flag.String(name).pipe(Flag.withMetavar(metavar), Flag.withDescription(description), Flag.optional)

const on = (name: string, description: string) =>
  Flag.Boolean(name).pipe(Flag.withDescription(description), Flag.withDefault(false))

/** The flags and arguments. */
export const flags = {
  urls: Argument.String("url").pipe(
    Argument.withDescription("URLs to fetch"),
    Argument.variadic()
  ),
  input: Flag.String("input").pipe(
    Flag.withAlias("i"),
    Flag.withMetavar("file"),
    Flag.withDescription("File of URLs, one a line; NDJSON; or CSV with a \"url\" column. - is standard input"),
    Flag.optional
  ),
  run: Flag.String("run").pipe(
    Flag.withMetavar("name"),
    Flag.withDescription("Name of the run; the same name again goes on where it stopped"),
    Flag.mapEffect((name) =>
      /^[A-Za-z0-9._:-]{1,200}$/.test(name)
        ? Effect.succeed(name)
        : invalid("run", name, "1 to 200 letters, digits, dots, colons, dashes or underscores")
    ),
    Flag.optional
  ),
  output: Flag.String("output").pipe(
    Flag.withAlias("o"),
    Flag.withMetavar("file"),
    Flag.withDescription(
      "Write outcomes there: CSV when the name ends in .csv, else NDJSON; a run that goes on appends. - is standard output"
    ),
    Flag.optional
  ),
  save: text("save", "dir", "Keep bodies as files below this directory"),
  concurrency: number("concurrency", "c", "Requests in flight (default 64)", 10_000, true),
  perHost: number("per-host", undefined, "Requests in flight to one host (default 16)", 10_000, true),
  rate: number("rate", undefined, "Requests started per second", 1_000_000, false),
  perHostRate: number("per-host-rate", undefined, "Requests started per second to one host", 1_000_000, false),
  timeout: duration("timeout", "Limit of one attempt, body included (default 2m)"),
  connectTimeout: duration("connect-timeout", "Limit of DNS, TCP and TLS together (default 10s)"),
  headersTimeout: duration("headers-timeout", "Limit from the request to the response's head (default 30s)"),
  idleTimeout: duration("idle-timeout", "Longest stand-still of a body (default 30s)"),
  deadline: duration("deadline", "Limit of the whole run; what is left stays for the next one"),
  retries: number("retries", undefined, "Retries after the first attempt (default 3)", 100, true),
  maxBody: Flag.String("max-body").pipe(
    Flag.withMetavar("size"),
    Flag.withDescription("Largest decoded body (default 64MiB)"),
    Flag.mapEffect((value) => {
      const size = parseSize(value)
      return size === undefined ? invalid("max-body", value, "a size such as 64KiB or 10MiB") : Effect.succeed(size)
    }),
    Flag.optional
  ),
  method: Flag.Literals("method", Method.literals).pipe(
    Flag.withDescription("Method of requests that name none (default GET)"),
    Flag.optional
  ),
  headers: header,
  denyPrivate: on("deny-private", "Refuse private, loopback and link-local addresses"),
  allowPrivate: on("allow-private", "Allow them, also for URLs of the run that came over the HTTP API"),
  robots: on("robots", "Ask the robots.txt of each site and obey it (RFC 9309)"),
  retryFailed: on("retry-failed", "Fetch again what failed in the run, all or what --tag and --host say"),
  tag: text("tag", "tag", "With --retry-failed: only this kind of failure, such as IdleTimeout"),
  host: text("host", "host", "With --retry-failed: only this host"),
  json: on("json", "NDJSON on standard output even on a terminal")
} as const

/** What the flags say, as they are read. */
export interface Values {
  readonly concurrency: Option.Option<number>
  readonly perHost: Option.Option<number>
  readonly rate: Option.Option<number>
  readonly perHostRate: Option.Option<number>
  readonly timeout: Option.Option<Duration.Duration>
  readonly connectTimeout: Option.Option<Duration.Duration>
  readonly headersTimeout: Option.Option<Duration.Duration>
  readonly idleTimeout: Option.Option<Duration.Duration>
  readonly retries: Option.Option<number>
  readonly maxBody: Option.Option<ByteSize.ByteSize>
  readonly denyPrivate: boolean
  readonly allowPrivate: boolean
  readonly robots: boolean
  readonly retryFailed: boolean
  readonly tag: Option.Option<string>
  readonly host: Option.Option<string>
}

const given = <K extends string, A>(key: K, value: Option.Option<A>): { readonly [P in K]?: A } =>
  // A computed key widens to string; it is K.
  Option.isSome(value) ? { [key]: value.value } as { readonly [P in K]: A } : {}

/** The policy that flags make of the defaults. A limit per host that is not given does not go above the whole. */
export const policyOf = (values: Values): FetchPolicy.FetchPolicy =>
  FetchPolicy.make({
    ...given("concurrency", values.concurrency),
    ...given("perHost", values.perHost),
    ...given("ratePerSecond", values.rate),
    ...given("perHostRatePerSecond", values.perHostRate),
    ...given("maxBody", values.maxBody),
    denyPrivate: values.denyPrivate || (values.allowPrivate ? false : "untrusted"),
    robots: values.robots,
    timeouts: {
      ...given("attempt", values.timeout),
      ...given("connect", values.connectTimeout),
      ...given("headers", values.headersTimeout),
      ...given("idle", values.idleTimeout)
    },
    retry: given("times", values.retries)
  })

/** Which failures are to be fetched again; `undefined` for none. */
export const retryFilterOf = ({ host, retryFailed, tag }: Values): OutcomeFilter | undefined =>
  retryFailed ? { tag: Option.getOrUndefined(tag), host: Option.getOrUndefined(host) } : undefined
