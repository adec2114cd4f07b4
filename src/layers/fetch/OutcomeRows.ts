/**
 * Outcomes and targets as rows, and back.
 */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import { Result } from "effect"
import { hash } from "node:crypto"
import type { FetchFailure, FetchOutcome } from "../../services/fetch/FetchOutcome.ts"
import * as FetchRequest from "../../services/fetch/FetchRequest.ts"
import { deferredUntil, identity } from "../../services/fetch/Frontier.ts"
import * as Redact from "../../services/fetch/Redact.ts"
import { array, int8s, texts } from "./FrontierStatements.ts"
import type { Lease } from "./LeaseBook.ts"

/** Postgres has no NUL in text. */
const storable = (text: string | null): string | null =>
  text !== null && text.includes("\0") ? text.replaceAll("\0", "\uFFFD") : text

/** What identifies a target in its run, in 16 bytes: half a SHA-256, so that two of a billion collide with a chance of one in 10^20. */
const hashOf = (target: FetchRequest.FetchTarget): Uint8Array =>
  hash("sha256", identity(target), "buffer").subarray(0, 16)

const requestText = ({ body, headers, method }: FetchRequest.FetchRequest): string | null =>
  method === undefined && headers === undefined && body === undefined ? null : JSON.stringify({ method, headers, body })

/** Columns of targets to add: lane, hash, url, request. */
export const targetColumns = (
  targets: ReadonlyArray<FetchRequest.FetchTarget>,
  lanes: ReadonlyArray<bigint>
): ReadonlyArray<PgTypes.Parameter> => [
  array(lanes, PgTypes.OID.int8),
  array(targets.map(hashOf), PgTypes.OID.bytea),
  texts(targets.map(({ request }) => storable(request.url))),
  texts(targets.map(({ request }) => requestText(request)))
]

/** A target as it was added. It was checked then, so it cannot fail now. */
export const targetOf = (url: string, request: string | null, untrusted: boolean): FetchRequest.FetchTarget => {
  const target = Result.getOrThrow(
    FetchRequest.parseTarget(request === null ? { url } : { url, ...JSON.parse(request) })
  )
  return untrusted ? { ...target, untrusted } : target
}

const stateOf = (outcome: FetchOutcome): number => outcome.ok ? 0 : deferredUntil(outcome) === undefined ? 1 : 2

/** Columns of outcomes to record, in the order in which `FrontierStatements.settle` takes them. */
export const outcomeColumns = (
  leases: ReadonlyArray<Lease>,
  outcomes: ReadonlyArray<FetchOutcome>
): ReadonlyArray<PgTypes.Parameter> => {
  const { float8, int2, int4, int8, timestamptz } = PgTypes.OID
  return [
    int8s(leases.map((lease) => lease.seq)),
    array(leases.map((lease) => lease.lane.id), int8),
    array(outcomes.map(stateOf), int2),
    array(outcomes.map((outcome) => outcome.status), int2),
    array(outcomes.map((outcome) => outcome.attempts), int4),
    int8s(outcomes.map((outcome) => outcome.bytes)),
    array(outcomes.map((outcome) => outcome.durationMs), float8),
    array(outcomes.map((outcome) => Date.parse(outcome.startedAt)), timestamptz),
    array(outcomes.map((outcome) => deferredUntil(outcome) ?? null), timestamptz),
    texts(outcomes.map((outcome) => outcome.sha256)),
    texts(outcomes.map((outcome) => outcome.error?._tag ?? null)),
    texts(outcomes.map((outcome) => storable(outcome.contentType))),
    texts(outcomes.map((outcome) => storable(outcome.finalUrl))),
    texts(outcomes.map((outcome) => storable(outcome.savedTo))),
    texts(outcomes.map(({ error }) => error === null ? null : JSON.stringify(error)))
  ]
}

/** A recorded outcome, as `select` gives it. */
export interface OutcomeRow {
  readonly seq: number
  readonly url: string
  readonly state: number
  readonly status: number | null
  readonly attempts: number
  readonly bytes: number
  readonly duration_ms: number
  readonly started_at: number
  readonly sha256: string | null
  readonly content_type: string | null
  readonly final_url: string | null
  readonly saved_to: string | null
  readonly error: FetchFailure | null
}

/** Columns of an outcome `o` of a URL `u`, for `outcomeOf`. */
export const outcomeSelect =
  `o.seq::float8 as seq, u.url, o.state, o.status, o.attempts, o.bytes::float8 as bytes, o.duration_ms,
  (extract(epoch from o.started_at) * 1000)::float8 as started_at, encode(o.sha256, 'hex') as sha256, o.content_type, o.final_url,
  o.saved_to, o.error`

/** The outcome that a row holds. */
export const outcomeOf = (row: OutcomeRow): FetchOutcome => ({
  url: Redact.url(row.url),
  finalUrl: row.final_url,
  ok: row.state === 0,
  status: row.status,
  attempts: row.attempts,
  bytes: row.bytes,
  sha256: row.sha256,
  contentType: row.content_type,
  startedAt: new Date(Math.round(row.started_at)).toISOString(),
  durationMs: row.duration_ms,
  savedTo: row.saved_to,
  error: row.error
})
