import { Effect, Result, Schema } from "effect"
import * as Foreign from "./Foreign.ts"
import type { Attempt, Kind } from "./Job.ts"
import * as JobOption from "./JobOption.ts"

/** One job as a batch handler gets it. */
export interface BatchItem<out Payload> {
  readonly payload: Payload
  readonly attempt: Attempt
}

/**
 * A kind with the program that runs it, its types erased so that handlers of many kinds fit in one worker.
 *
 * `R` is what the program needs; the worker layer asks for it.
 */
export interface Handler<out R> {
  readonly mode: "plain" | "transactional" | "batch"
  /** How many jobs share one transaction. 1 for plain handlers. */
  readonly maxGroup: number
  /** Whether its transaction begins with the settle instead of ending with it. */
  readonly settlesFirst: boolean
  readonly kind: Pick<
    Kind<string, never, never, never>,
    "name" | "queue" | "retry" | "maxAttempts" | "timeout" | "history"
  >
  readonly decode: (payload: unknown) => Result.Result<unknown, string>
  /** JSON text of a result; undefined is stored as no result. */
  readonly encodeSuccess: (value: unknown) => Result.Result<string | null, string>
  /** The JSON form of an error that fits the kind's error schema. */
  readonly encodeError: (error: unknown) => unknown
  /** In a transaction it runs confined (`Foreign`); a plain handler may end the fiber that runs it. */
  readonly run: (items: ReadonlyArray<BatchItem<unknown>>) => Effect.Effect<ReadonlyArray<unknown> | void, unknown, R>
}

/** A handler that still knows the types of its kind: `JobTest.perform` takes a payload of that kind. */
export interface HandlerOf<in out P, in out S, in out F, out R> extends Handler<R> {
  readonly kind: Kind<string, P, S, F>
}

/** Type-level helpers. */
export declare namespace Handler {
  /** What a handler needs. */
  export type Services<H> = H extends Handler<infer R> ? R : never
}

/** A codec is the user's code: an error that it throws is taken for its answer, and costs its own job only. */
const guarded = <A>(codec: () => A): Result.Result<A, string> =>
  Result.try({
    try: codec,
    catch: (error) => Schema.isSchemaError(error) ? error.message : `the codec threw ${Foreign.thrown(error)}`
  })

/** JavaScript may answer anything. */
const effectOf = <A, E, R>(kind: string, answer: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.isEffect(answer)
    ? answer
    : Effect.die(new TypeError(`the handler of kind "${kind}" answered ${JobOption.shown(answer)} and no Effect`))

/** A handler answers one result for each job, or none at all: with any other number nobody knows whose results they are. */
const oneEach = <A extends ReadonlyArray<unknown> | void>(kind: string, jobs: number, values: A) =>
  values === undefined || (Array.isArray(values) && values.length === jobs)
    ? Effect.succeed(values)
    : Effect.die(
      new TypeError(
        `the handler of kind "${kind}" answered ${
          Array.isArray(values) ? `${values.length} results` : JobOption.shown(values)
        } for ${jobs} job(s)`
      )
    )

/** What a handler is, before its types are erased. */
interface Typed<P, S, R> extends Pick<Handler<R>, "mode" | "maxGroup" | "settlesFirst"> {
  readonly run: (items: ReadonlyArray<BatchItem<P>>) => Effect.Effect<ReadonlyArray<S> | void, unknown, R>
}

const erase = <N extends string, P, S, F, R>(
  kind: Kind<N, P, S, F>,
  { maxGroup, mode, run, settlesFirst }: Typed<P, S, R>
): HandlerOf<P, S, F, R> => {
  const payload = Schema.decodeUnknownSync(Schema.toCodecJson(kind.payload))
  const success = Schema.encodeUnknownSync(Schema.toCodecJson(kind.success))
  const failure = Schema.encodeUnknownSync(Schema.toCodecJson(kind.error))
  return {
    mode,
    maxGroup,
    settlesFirst,
    kind,
    decode: (input) => guarded(() => payload(input)),
    encodeSuccess: (value) => value === undefined ? noResult : guarded(() => JSON.stringify(success(value)) ?? null),
    encodeError: (error) => Result.getOrUndefined(guarded(() => failure(error))),
    // Only what `decode` of this same handler answered comes in here.
    run: run as Handler<R>["run"]
  }
}

const noResult = Result.succeed(null)

/** X is an effect of S: TypeScript does not take a type parameter apart by itself. */
const typed = <P, S, X extends Effect.Effect<S, unknown, unknown>>(
  kind: string,
  run: (payload: P, attempt: Attempt) => X
): (payload: P, attempt: Attempt) => Effect.Effect<S, unknown, Effect.Services<X>> => {
  const one = run as unknown as (payload: P, attempt: Attempt) => Effect.Effect<S, unknown, Effect.Services<X>>
  return (payload, attempt) => effectOf(kind, one(payload, attempt))
}

/**
 * A handler that may do anything. It runs at least once: after a crash between its work and its settling it runs again,
 * so what it does outside should be idempotent (the job's id is a good key).
 *
 * A failure is retried by the kind's schedule; `JobDiscard` dead-letters at once, `JobSnooze` runs later without counting.
 */
export const plain = <N extends string, P, S, F, X extends Effect.Effect<S, unknown, unknown>>(
  kind: Kind<N, P, S, F>,
  run: (payload: P, attempt: Attempt) => X
): HandlerOf<P, S, F, Effect.Services<X>> => {
  const one = typed<P, S, X>(kind.name, run)
  return erase(kind, {
    mode: "plain",
    maxGroup: 1,
    settlesFirst: false,
    run: ([item]) => item === undefined ? Effect.void : Effect.map(one(item.payload, item.attempt), (value) => [value])
  })
}

/**
 * A handler that only touches the database: it runs inside the SQL transaction that settles its job, so its effects
 * happen exactly once. When the lease was lost the settle matches nothing and everything it did is rolled back.
 *
 * Up to `maxGroup` waiting jobs run one after another in one transaction, committed together; when one of them fails,
 * the transaction is rolled back and each runs again in a transaction of its own. `maxGroup: 1` gives each job its own
 * from the start. A handler must not pause between statements for longer than the worker's lease: the database then ends
 * the transaction, so that a frozen worker does not hold its locks.
 *
 * @default maxGroup 32
 */
export const transactional = <N extends string, P, S, F, X extends Effect.Effect<S, unknown, unknown>>(
  kind: Kind<N, P, S, F>,
  run: (payload: P, attempt: Attempt) => X,
  options?: { readonly maxGroup?: number }
): HandlerOf<P, S, F, Effect.Services<X>> => {
  JobOption.assertValid(`the handler of kind "${kind.name}"`, options, { maxGroup: JobOption.count })
  const one = typed<P, S, X>(kind.name, run)
  return erase(kind, {
    mode: "transactional",
    maxGroup: options?.maxGroup ?? 32,
    settlesFirst: false,
    // Sequential on purpose: handlers in one transaction must not see each other half done.
    run: (items) => Foreign.confined(Effect.forEach(items, (item) => one(item.payload, item.attempt)))
  })
}

/**
 * A handler of many jobs at once: N jobs and their N effects in one SQL transaction with the fenced settle inside it. When
 * the batch fails, it is rolled back and the handler is called with one job at a time, so that only the bad ones fail.
 *
 * It answers one result per job in the order of `items`, or nothing.
 *
 * With `settle: "first"` the transaction begins with the fenced settle, and what the handler answers is not kept: for
 * handlers that take locks which others wait for, so that those are not held while jobs are settled. Until the commit a
 * cancellation of such a job waits.
 *
 * @default maxSize 500, settle "last"
 */
export const batch = <
  N extends string,
  P,
  S,
  F,
  X extends Effect.Effect<ReadonlyArray<S> | void, unknown, unknown>
>(
  kind: Kind<N, P, S, F>,
  run: (items: ReadonlyArray<BatchItem<P>>) => X,
  options?: { readonly maxSize?: number; readonly settle?: "first" | "last" }
): HandlerOf<P, S, F, Effect.Services<X>> => {
  JobOption.assertValid(`the handler of kind "${kind.name}"`, options, {
    maxSize: JobOption.count,
    settle: JobOption.settle
  })
  // X is such an effect: TypeScript does not take a type parameter apart by itself.
  const all = run as (
    items: ReadonlyArray<BatchItem<P>>
  ) => Effect.Effect<ReadonlyArray<S> | void, unknown, Effect.Services<X>>
  return erase(kind, {
    mode: "batch",
    maxGroup: options?.maxSize ?? 500,
    settlesFirst: options?.settle === "first",
    run: (items) =>
      Effect.flatMap(
        Foreign.confined(Effect.suspend(() => effectOf(kind.name, all(items)))),
        (values) => oneEach(kind.name, items.length, values)
      )
  })
}
