/**
 * The flags of `sluice fetch`: what they are called, what is right, and the policy that they make.
 */
import { Duration, Effect, Option, Redacted, Result } from "effect"
import * as Argument from "effect/cli/Argument"
import * as CliError from "effect/cli/CliError"
import type * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as FetchPolicy from "../../services/fetch/FetchPolicy.ts"
import { Method } from "../../services/fetch/FetchRequest.ts"
import type { OutcomeFilter } from "../../services/fetch/Frontier.ts"
import * as SaveTemplate from "../../services/fetch/SaveTemplate.ts"
import * as StatusRange from "../../services/fetch/StatusRange.ts"
import * as ShortDuration from "../../services/tasks/ShortDuration.ts"
import * as ShortSize from "../../services/tasks/ShortSize.ts"
import { given } from "../terminal/Given.ts"
import * as RequestFlags from "./RequestFlags.ts"
import * as Tag from "./Tag.ts"

const parseTime = (text: string): Duration.Duration | undefined => {
  const time = ShortDuration.parse(text)
  return time !== undefined && Duration.toMillis(time) > 0 ? time : undefined
}

const parseName = (text: string): string | undefined => /^[A-Za-z0-9._:-]{1,200}$/.test(text) ? text : undefined

const parseHeaderText = (text: string): string | undefined => /^[\t\x20-\x7e\x80-\xff]+$/.test(text) ? text : undefined

/** Statuses and classes of them with commas between, such as say that something went wrong. */
const parseErrorStatuses = (text: string): ReadonlyArray<StatusRange.StatusRange> | undefined => {
  const all = text.split(",").map((one) => StatusRange.parse(one.trim()))
  const right = all.flatMap((range) => range !== undefined && range.least >= 400 ? [range] : [])
  return right.length === all.length ? right : undefined
}

interface NumberRange {
  readonly least: number
  readonly most: number
  readonly isWhole: boolean
}

const parseNumber = ({ isWhole, least, most }: NumberRange) => (text: string): number | undefined => {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN
  return value >= least && value <= most && (!isWhole || Number.isInteger(value)) ? value : undefined
}

/** Reads a text that a flag was given, or says what would be right. */
const reading = <A>(option: string, expected: string, parse: (text: string) => A | undefined) => (value: string) => {
  const parsed = parse(value)
  return parsed === undefined
    ? Effect.fail(new CliError.InvalidValue({ option, value, expected, kind: "flag" }))
    : Effect.succeed(parsed)
}

const flag = (name: string, metavar: string, description: string) =>
  Flag.String(name).pipe(Flag.withMetavar(metavar), Flag.withDescription(description))

const text = (name: string, metavar: string, description: string) => Flag.optional(flag(name, metavar, description))

const on = (name: string, description: string) =>
  Flag.Boolean(name).pipe(Flag.withDescription(description), Flag.withDefault(false))

/** On, off (`--no-...`), or not said. */
const onOrOff = (name: string, description: string) =>
  Flag.Boolean(name).pipe(Flag.withDescription(description), Flag.optional)

/** Which statuses something is about. */
export const status = (description: string) =>
  flag("status", "status", description).pipe(
    Flag.mapEffect(reading("status", "a status such as 404, or a class of them such as 5xx", StatusRange.parse)),
    Flag.optional
  )

const duration = (name: string, description: string) =>
  flag(name, "duration", description).pipe(
    Flag.mapEffect(reading(name, "a time such as 250ms, 10s or 2m", parseTime)),
    Flag.optional
  )

const number = (name: string, range: NumberRange, description: string) => {
  const expected = `a ${range.isWhole ? "whole " : ""}number from ${range.least} to ${
    range.most.toLocaleString("en-US")
  }`
  return Flag.mapEffect(flag(name, "n", description), reading(name, expected, parseNumber(range)))
}

const requests: NumberRange = { least: 1, most: 10_000, isWhole: true }
const perSecond: NumberRange = { least: 0.001, most: 1_000_000, isWhole: false }

/** The flags and arguments. */
export const flags = {
  urls: Argument.String("url").pipe(
    Argument.withDescription("URLs to fetch"),
    Argument.variadic()
  ),
  inputs: flag(
    "input",
    "file",
    "File of URLs, one a line; NDJSON; or CSV with a \"url\" column; also gzip. May be repeated; - is standard input"
  ).pipe(Flag.withAlias("i"), Flag.between(0, 1000)),
  keep: flag("keep", "names", "Fields or columns of the input that outcomes carry beside \"id\" (default: all)").pipe(
    Flag.map((names): ReadonlyArray<string> =>
      names.split(",").map((name) => name.trim()).filter((name) => name !== "")
    ),
    Flag.optional
  ),
  run: flag("run", "name", "Name of the run; the same name again goes on where it stopped, with the same flags").pipe(
    Flag.mapEffect(
      reading("run", "1 to 200 letters, digits, dots, colons, dashes or underscores", parseName)
    ),
    Flag.optional
  ),
  output: text(
    "output",
    "file",
    "Write outcomes there: CSV when the name ends in .csv, else NDJSON; a run that goes on appends. - is standard output"
  ).pipe(Flag.withAlias("o")),
  save: text("save", "dir", "Keep bodies as files below this directory"),
  saveAs: flag("save-as", "template", "What those files are called, such as {host}/{path}{ext} or {id}{ext}").pipe(
    Flag.mapEffect((template) =>
      Result.match(SaveTemplate.parse(template), {
        onFailure: ({ expected }) =>
          Effect.fail(
            new CliError.InvalidValue({ option: "save-as", value: template, expected, kind: "flag" })
          ),
        onSuccess: Effect.succeed
      })
    ),
    Flag.optional
  ),
  concurrency: number("concurrency", requests, "Requests in flight (default 64)").pipe(
    Flag.withAlias("c"),
    Flag.optional
  ),
  perHost: Flag.optional(number("per-host", requests, "Requests in flight to one host (default 16)")),
  rate: Flag.optional(number("rate", perSecond, "Requests started per second")),
  perHostRate: Flag.optional(number("per-host-rate", perSecond, "Requests started per second to one host")),
  timeout: duration("timeout", "Limit of one attempt, body included (default 2m)"),
  connectTimeout: duration("connect-timeout", "Limit of DNS, TCP and TLS together (default 10s)"),
  headersTimeout: duration("headers-timeout", "Limit from the request to the response's head (default 30s)"),
  idleTimeout: duration("idle-timeout", "Longest stand-still of a body (default 30s)"),
  deadline: duration("deadline", "Limit of the whole run; what is left stays for the next one"),
  adaptive: onOrOff(
    "adaptive",
    "Find out what each host takes from what it refuses (429, 503); --no-adaptive asks as much as allowed"
  ),
  blockMax: duration("block-max", "Longest rest of a host that refuses and does not say for how long (default 10m)"),
  patience: duration("patience", "Longest that a URL waits for its host; then it is left for later (default 1m)"),
  retries: Flag.optional(
    number("retries", { least: 0, most: 100, isWhole: true }, "Retries after the first attempt (default 3)")
  ),
  retryStatus: flag("retry-status", "statuses", "Statuses that are retried too, as 503 is, such as 404,403 or 4xx")
    .pipe(
      Flag.mapEffect(reading("retry-status", "statuses from 400 on, such as 404 or 404,5xx", parseErrorStatuses)),
      Flag.optional
    ),
  backoff: duration("backoff", "Longest wait before the first retry; doubles with each (default 250ms)"),
  backoffMax: duration("backoff-max", "Longest wait before any retry of a fault (default 30s, or --backoff if longer)"),
  maxBody: flag("max-body", "size", "Largest decoded body (default 64MiB)").pipe(
    Flag.mapEffect(reading("max-body", "a size such as 64KiB or 10MiB", ShortSize.parse)),
    Flag.optional
  ),
  method: Flag.Literals("method", Method.literals).pipe(
    Flag.withDescription("Method of requests that name none (default GET)"),
    Flag.optional
  ),
  headers: flag(
    "header",
    "'K: V'",
    "A request header, or @FILE with some; may be repeated. Values are not stored with the run"
  )
    .pipe(
      Flag.withAlias("H"),
      Flag.between(0, 100),
      Flag.mapEffect((given) => Effect.map(Effect.forEach(given, RequestFlags.headers), (lines) => lines.flat())),
      // By lower-case name; the last one of a name wins.
      Flag.map((entries): Readonly<Record<string, string>> => Object.fromEntries(entries))
    ),
  user: Flag.Redacted("user").pipe(
    Flag.withAlias("u"),
    Flag.withMetavar("name:password"),
    Flag.withDescription(
      "Who asks (basic authentication). Not stored with the run; others can see it in the list of processes"
    ),
    Flag.mapEffect(RequestFlags.basicAuth),
    Flag.optional
  ),
  userAgent: flag("user-agent", "text", "Sent as User-Agent, and looked for in robots.txt (default sluice/0.1)").pipe(
    Flag.withAlias("A"),
    Flag.mapEffect(reading("user-agent", "text that can stand in a header", parseHeaderText)),
    Flag.optional
  ),
  data: flag("data", "text", "Body of requests that have none, or @FILE with it: a POST unless --method says otherwise")
    .pipe(
      Flag.withAlias("d"),
      Flag.mapEffect(RequestFlags.data),
      Flag.optional
    ),
  denyPrivate: onOrOff("deny-private", "Refuse private, loopback and link-local addresses"),
  allowPrivate: onOrOff("allow-private", "Allow them, also for URLs of the run that came over the HTTP API"),
  robots: onOrOff("robots", "Ask the robots.txt of each site and obey it (RFC 9309)"),
  retryFailed: on("retry-failed", "Fetch again what failed in the run, all or what --tag, --host and --status say"),
  again: on(
    "again",
    "Fetch again what is recorded in the run, done or failed, all or what --tag, --host and --status say"
  ),
  tag: Tag.flag("With --retry-failed or --again: only this kind of failure, such as IdleTimeout"),
  host: text("host", "host", "With --retry-failed or --again: only this host"),
  status: status("With --retry-failed or --again: only this status, or class of them, such as 404 or 5xx"),
  forget: flag("forget", "flag", "Do without a flag or a header that the run remembers, such as rate; may be repeated")
    .pipe(
      Flag.between(0, 100)
    ),
  dryRun: on("dry-run", "Read the input and say what would be fetched; send nothing and record nothing"),
  json: on("json", "NDJSON on standard output even on a terminal"),
  quiet: on("quiet", "No progress and no summary: only what went wrong").pipe(Flag.withAlias("q"))
} as const

/** What the flags say, as they are read. */
export type Values = Command.Command.Config.Infer<typeof flags>

const isOn = Option.getOrElse(() => false)

/** A longest wait that is not given is not below the first one. */
const backoffMaxOf = ({ backoff, backoffMax }: Values): Option.Option<Duration.Duration> =>
  Option.orElse(backoffMax, () => Option.map(backoff, Duration.max(FetchPolicy.defaults.retry.cap)))

/** The policy that flags make of the defaults. A limit per host that is not given does not go above the whole. */
export const policyOf = (values: Values): FetchPolicy.FetchPolicy =>
  FetchPolicy.make({
    ...given({
      concurrency: values.concurrency,
      perHost: values.perHost,
      ratePerSecond: values.rate,
      perHostRatePerSecond: values.perHostRate,
      maxBody: values.maxBody,
      userAgent: values.userAgent
    }),
    denyPrivate: isOn(values.denyPrivate) || (isOn(values.allowPrivate) ? false : "untrusted"),
    robots: isOn(values.robots),
    timeouts: given({
      attempt: values.timeout,
      connect: values.connectTimeout,
      headers: values.headersTimeout,
      idle: values.idleTimeout
    }),
    retry: given({
      times: values.retries,
      patience: values.patience,
      statuses: values.retryStatus,
      base: values.backoff,
      cap: backoffMaxOf(values)
    }),
    hosts: { adaptive: Option.getOrElse(values.adaptive, () => true), ...given({ blockMax: values.blockMax }) }
  })

/** The headers that the command line adds to what requests set themselves. */
export const headersOf = ({ headers, user }: Values): Readonly<Record<string, string>> =>
  Option.isSome(user) ? { ...headers, authorization: Redacted.value(user.value) } : headers

/** What of the run is to be fetched again; `undefined` for nothing. */
export const againOf = ({ again, host, retryFailed, status, tag }: Values): OutcomeFilter | undefined =>
  retryFailed || again
    ? {
      failed: retryFailed,
      tag: Option.getOrUndefined(tag),
      host: Option.getOrUndefined(host),
      status: Option.getOrUndefined(status)
    }
    : undefined
