/**
 * Outcomes and targets as rows, and back.
 */
import { Result, type Schema } from "effect"
import { hash } from "node:crypto"
import type { FetchFailure, FetchOutcome } from "../../services/fetch/FetchOutcome.ts"
import * as FetchRequest from "../../services/fetch/FetchRequest.ts"
import { deferredUntil } from "../../services/fetch/Frontier.ts"
import * as Redact from "../../services/fetch/Redact.ts"
import * as Columns from "../postgres/Columns.ts"
import type { Arguments } from "../postgres/SqlFunction.ts"
import type { Lease } from "./LeaseBook.ts"

/** Postgres has no NUL in text. */
const storable = (text: string | null): string | null =>
  text !== null && text.includes("\0") ? text.replaceAll("\0", "\uFFFD") : text

/** What identifies a target in its run, in 16 bytes: half a SHA-256, so that two of a billion collide with a chance of one in 10^20. */
export const hashOf = (target: FetchRequest.FetchTarget): Uint8Array =>
  hash("sha256", FetchRequest.keyOf(target), "buffer").subarray(0, 16)

const requestText = ({ body, headers, method }: FetchRequest.FetchRequest): string | null =>
  method === undefined && headers === undefined && body === undefined ? null : JSON.stringify({ method, headers, body })

/** What `fetch_add` takes: targets that are all trusted, or all not, and their lanes. */
export const targetColumns = (
  targets: ReadonlyArray<FetchRequest.FetchTarget>,
  lanes: ReadonlyArray<bigint>,
  isUntrusted: boolean
): Arguments => ({
  is_untrusted: isUntrusted,
  lanes: Columns.bigints(lanes),
  hashes: Columns.byteas(targets.map(hashOf)),
  urls: Columns.texts(targets.map(({ request }) => storable(request.url))),
  requests: Columns.texts(targets.map(({ request }) => requestText(request))),
  sources: Columns.texts(targets.map(({ request: { label } }) => storable(label?.source ?? null))),
  lines: Columns.ints(targets.map(({ request: { label } }) => label?.line ?? null)),
  ids: Columns.texts(targets.map(({ request: { label } }) => jsonText(label?.id ?? null))),
  inputs: Columns.texts(targets.map(({ request: { label } }) => jsonText(label?.input ?? null)))
})

const jsonText = (json: Schema.Json): string | null => json === null ? null : JSON.stringify(json)

/** The label of a request. */
interface LabelRow {
  readonly source: string | null
  readonly line: number | null
  readonly id: Schema.Json
  readonly input: Schema.JsonObject | null
}

/** What there is of a target beside its URL, as `fetch_read` gives it. */
export interface TargetRow extends LabelRow {
  readonly request: string | null
  readonly untrusted: boolean
}

/** A target as it was added. It was checked then, so it cannot fail now. */
export const targetOf = (
  url: string,
  { id, input, line, request, source, untrusted }: TargetRow
): FetchRequest.FetchTarget => {
  const label = source === null && line === null && id === null && input === null
    ? undefined
    : {
      label: {
        ...(source === null ? undefined : { source }),
        ...(line === null ? undefined : { line }),
        ...(id === null ? undefined : { id }),
        ...(input === null ? undefined : { input })
      }
    }
  const target = Result.getOrThrow(
    FetchRequest.parseTarget({ url, ...(request === null ? undefined : JSON.parse(request)), ...label })
  )
  return untrusted ? { ...target, untrusted } : target
}

/** `sluice.fetch_state` */
type State = "done" | "failed" | "deferred"

const stateOf = (outcome: FetchOutcome): State =>
  outcome.ok ? "done" : deferredUntil(outcome) === undefined ? "failed" : "deferred"

/** What `fetch_settle` takes of outcomes. */
export const outcomeColumns = (leases: ReadonlyArray<Lease>, outcomes: ReadonlyArray<FetchOutcome>): Arguments => ({
  seqs: Columns.bigints(leases.map(({ seq }) => BigInt(seq))),
  lanes: Columns.bigints(leases.map(({ lane }) => lane.id)),
  states: Columns.texts(outcomes.map(stateOf)),
  statuses: Columns.smallints(outcomes.map(({ status }) => status)),
  attempts: Columns.ints(outcomes.map(({ attempts }) => attempts)),
  bytes: Columns.bigints(outcomes.map(({ bytes }) => BigInt(bytes))),
  durations: Columns.floats(outcomes.map(({ durationMs }) => durationMs)),
  starts: Columns.times(outcomes.map(({ startedAt }) => Date.parse(startedAt))),
  dues: Columns.times(outcomes.map((outcome) => deferredUntil(outcome) ?? null)),
  digests: Columns.texts(outcomes.map(({ sha256 }) => sha256)),
  tags: Columns.texts(outcomes.map(({ error }) => error?._tag ?? null)),
  content_types: Columns.texts(outcomes.map(({ contentType }) => storable(contentType))),
  final_urls: Columns.texts(outcomes.map(({ finalUrl }) => storable(finalUrl))),
  saved_tos: Columns.texts(outcomes.map(({ savedTo }) => storable(savedTo))),
  errors: Columns.texts(outcomes.map(({ error }) => error === null ? null : JSON.stringify(error)))
})

/** A recorded outcome, as `fetch_page` gives it. */
export interface OutcomeRow extends LabelRow {
  readonly seq: number
  readonly url: string
  readonly state: State
  readonly status: number | null
  readonly attempts: number
  readonly bytes: number
  readonly duration_ms: number
  readonly started_millis: number
  readonly sha256: string | null
  readonly content_type: string | null
  readonly final_url: string | null
  readonly saved_to: string | null
  readonly error: FetchFailure | null
  readonly method: FetchRequest.Method
}

/** The outcome that a row holds. */
export const outcomeOf = (row: OutcomeRow): FetchOutcome => ({
  url: Redact.url(row.url),
  method: row.method,
  id: row.id,
  source: row.source,
  line: row.line,
  input: row.input,
  finalUrl: row.final_url,
  ok: row.state === "done",
  status: row.status,
  attempts: row.attempts,
  bytes: row.bytes,
  sha256: row.sha256,
  contentType: row.content_type,
  startedAt: new Date(Math.round(row.started_millis)).toISOString(),
  durationMs: row.duration_ms,
  savedTo: row.saved_to,
  error: row.error
})
