/**
 * The main job: what an input names is fetched under the policy in force, recorded, and told, once each.
 *
 * The input goes into the frontier while what is there is fetched; outcomes are settled in batches, and told only when they are
 * recorded. Nothing grows with the length of the input.
 */
import {
  Cause,
  Clock,
  Duration,
  Effect,
  Exit,
  Fiber,
  Option,
  Queue,
  Result,
  Runtime,
  Schedule,
  Schema,
  Stream
} from "effect"
import { type Fetched, Fetcher } from "../../services/fetch/Fetcher.ts"
import { BodyStoreError } from "../../services/fetch/FetchError.ts"
import type { FetchOutcome } from "../../services/fetch/FetchOutcome.ts"
import type { FetchTarget } from "../../services/fetch/FetchRequest.ts"
import type { FetchSource, Lending } from "../../services/fetch/FetchSource.ts"
import * as FileFault from "../../services/fetch/FileFault.ts"
import {
  Frontier,
  type FrontierError,
  type OutcomeFilter,
  type Run,
  type RunNotes
} from "../../services/fetch/Frontier.ts"
import { ExitCode } from "../../services/tasks/ExitCode.ts"
import * as Tasks from "../../services/tasks/Tasks.ts"
import { isOutputClosed } from "../terminal/OutputError.ts"
import type { Input, MalformedLine } from "./Inputs.ts"
import type { Output } from "./Outcomes.ts"
import type { RunMeter } from "./RunMeter.ts"
import type { RunReport } from "./RunReport.ts"
import type { UsageError } from "./UsageError.ts"

/** Outcomes that wait to be recorded at most, and that are recorded at once. */
const settleMax = 1000
/** Outcomes that are worth recording without a pause for more. */
const settleSoon = 200
/** How long fewer outcomes than that may wait for company. */
const lingerMillis = 5
/** After an interruption: how long recording what has ended may take. */
const lastWordsMillis = 1500

/** How often it is looked how the hosts are doing. */
const lookEvery = Duration.millis(200)

/** The input names nothing to fetch. */
export class EmptyInput extends Schema.TaggedError<EmptyInput>()("EmptyInput", {
  malformed: Schema.Int
}) {
  override get message(): string {
    return this.malformed === 0
      ? "the input is empty: there is nothing to fetch"
      : `the input names nothing to fetch: ${
        this.malformed === 1 ? "its only line is" : `all of its ${this.malformed} lines are`
      } malformed`
  }
  override get [Runtime.errorExitCode](): number {
    return ExitCode.usage
  }
}

/** What to fetch and what to do with the outcomes. */
export interface FetchRunOptions<E, R> {
  readonly name: string
  /** Without one the run goes on with what it has. */
  readonly inputs?: Stream.Stream<Input, E, R> | undefined
  /** What is recorded, and to be fetched again. */
  readonly again?: OutcomeFilter | undefined
  /** Noted with the run. */
  readonly notes?: RunNotes | undefined
  /** Is told what is noted with the run, before anything of it is fetched. */
  readonly onOpen?: ((notes: RunNotes) => Effect.Effect<void, UsageError>) | undefined
  /** Headers of every request that does not set them itself; they are not stored. */
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** How long the run may take; then what is in flight is cancelled and the rest stays pending. */
  readonly deadline?: Duration.Duration | undefined
  readonly output: Output
  readonly onMalformed: (line: MalformedLine) => Effect.Effect<void>
  readonly meter: RunMeter
}

/** Fetches an input. Interruption cancels what is in flight, records what has ended and gives the rest back. */
export const fetchRun = Effect.fn("fetchRun")(function*<E, R>(options: FetchRunOptions<E, R>) {
  const { meter } = options
  const fetcher = yield* Fetcher
  const frontier = yield* Frontier
  return yield* Effect.scoped(Effect.gen(function*() {
    const run = yield* frontier.open(options.name, { again: options.again, notes: options.notes })
    if (options.onOpen !== undefined) yield* options.onOpen(run.notes)
    meter.opened(yield* run.counts)
    const feeder = yield* Effect.forkScoped(Tasks.named("reading the input")(feed(run, options)), {
      startImmediately: true
    })
    const looking = look(fetcher.hosts, meter)
    yield* Effect.forkScoped(
      Effect.repeat(looking, Schedule.spaced(lookEvery)).pipe(Tasks.named("watching the hosts")),
      { startImmediately: true }
    )
    const outcomes = fetcher.fetchSource(metered(run.source, options))
    const work = Effect.raceFirst(
      Effect.andThen(record(run, outcomes, options), options.output.flush),
      failureOf(feeder)
    )
    const stopped = yield* work.pipe(
      Effect.as(undefined),
      Effect.timeoutOrElse({
        duration: options.deadline ?? Duration.infinity,
        orElse: () => Effect.succeed("deadline" as const)
      }),
      Effect.catchIf(isOutputClosed, () => Effect.succeed("output closed" as const))
    )
    yield* Fiber.interrupt(feeder)
    yield* looking
    const report: RunReport = {
      name: options.name,
      meter,
      done: meter.done,
      durationMillis: (yield* Clock.currentTimeMillis) - meter.startedMillis,
      counts: yield* run.counts,
      stopped
    }
    return report
  })).pipe(Tasks.named(() => `run ${options.name}`))
})

/** Tells the meter how the hosts are doing. */
const look = Effect.fnUntraced(function*(hosts: Fetcher["Service"]["hosts"], meter: RunMeter) {
  meter.looked(yield* hosts, yield* Clock.currentTimeMillis)
})

/** Fails when the fiber does, and otherwise never ends. */
const failureOf = <A, E>(fiber: Fiber.Fiber<A, E>): Effect.Effect<never, E> =>
  Effect.flatMap(Fiber.await(fiber), (exit) => Exit.isFailure(exit) ? Effect.failCause(exit.cause) : Effect.never)

/** The input into the frontier; then this process adds no more. */
const feed = Effect.fnUntraced(function*<E, R>(run: Run, { inputs, meter, onMalformed }: FetchRunOptions<E, R>) {
  const add = Effect.fnUntraced(function*(lines: ReadonlyArray<Input>) {
    const targets: Array<FetchTarget> = []
    for (const line of lines) {
      if (Result.isSuccess(line)) targets.push(line.success)
      else {
        meter.malformed++
        yield* onMalformed(line.failure)
      }
    }
    if (targets.length > 0) meter.addedTo(yield* run.add(targets), targets.length)
  })
  if (inputs !== undefined) {
    yield* Stream.runForEachArray(inputs, add)
    if (meter.added + meter.known + meter.repeated === 0) return yield* new EmptyInput({ malformed: meter.malformed })
  }
  meter.isInputDone = true
  return yield* run.seal
})

/**
 * The frontier's source, counted, and with the headers that are not stored. They are for what its user asked for: a URL that came over the
 * network would carry them to where it pleases.
 */
const metered = <E, R>(
  source: FetchSource<FrontierError>,
  { headers, meter }: FetchRunOptions<E, R>
): FetchSource<FrontierError> => ({
  lending: source.lending === undefined ? undefined : told(source.lending, meter),
  pull: (demand) =>
    Effect.map(source.pull(demand), (supply) => {
      if (supply._tag !== "Targets") return supply
      for (const { host } of supply.targets) meter.started(host)
      if (headers === undefined) return supply
      return {
        ...supply,
        targets: supply.targets.map((target) => target.untrusted === true ? target : { ...target, headers })
      }
    })
})

const told = ({ isSure, listen }: Lending, meter: RunMeter): Lending => ({
  isSure,
  listen: (onChange) =>
    listen((change) => {
      if (change === "lost") meter.lost()
      onChange(change)
    })
})

const decodeStoreError = Schema.decodeUnknownOption(BodyStoreError)

/** Why no body can be kept any more: then the URL stays pending, and so does the rest of the list. */
const storeFailure = ({ error }: FetchOutcome): BodyStoreError | undefined =>
  error?._tag === "BodyStoreError"
    ? Option.getOrUndefined(Option.filter(decodeStoreError(error), ({ code }) => FileFault.isOfAll(code)))
    : undefined

/** Outcomes into the frontier and, recorded, to the output. Interruption stops the fetching and not the recording of what has ended. */
const record = Effect.fnUntraced(function*<E, E2, R>(
  run: Run,
  outcomes: Stream.Stream<Fetched, E>,
  { meter, output }: FetchRunOptions<E2, R>
) {
  const ended = yield* Queue.bounded<Fetched, Cause.Done>(settleMax)
  const settle = Effect.fnUntraced(function*(batch: ReadonlyArray<Fetched>) {
    const full = batch.flatMap(({ outcome }) => storeFailure(outcome) ?? [])
    const recorded = yield* run.settle(
      full.length === 0 ? batch : batch.filter(({ outcome }) => !storeFailure(outcome))
    )
    const nowMillis = yield* Clock.currentTimeMillis
    for (const fetched of recorded) meter.recorded(fetched, nowMillis)
    yield* output.write(recorded.map(({ outcome }) => outcome))
    const [failure] = full
    yield* failure === undefined ? Effect.void : Effect.fail(failure)
  })
  const recorder = Effect.gen(function*() {
    while (true) {
      const batch = yield* Queue.takeBetween(ended, 1, settleMax)
      if (batch.length < settleSoon) {
        yield* Effect.sleep(lingerMillis)
        batch.push(
          ...yield* Queue.takeBetween(ended, 0, settleMax - batch.length).pipe(
            Effect.catchIf(Cause.isDone, () => Effect.succeed([]))
          )
        )
      }
      yield* settle(batch)
    }
  }).pipe(
    Effect.catchIf(Cause.isDone, () => Effect.void),
    Tasks.named("recording outcomes")
  )
  const fetching = Stream.runForEachArray(outcomes, (chunk) => {
    for (const fetched of chunk) meter.ended(fetched)
    return Queue.offerAll(ended, chunk)
  })
  return yield* Effect.uninterruptibleMask((restore) =>
    Effect.gen(function*() {
      const recording = yield* Effect.forkChild(Effect.interruptible(recorder), { startImmediately: true })
      const exit = yield* Effect.exit(restore(Effect.raceFirst(fetching, failureOf(recording))))
      yield* Queue.end(ended)
      const settled = Exit.isSuccess(exit) ? yield* Effect.exit(restore(Fiber.join(recording))) : exit
      if (Exit.isFailure(settled)) {
        // Interrupted or failed: what has ended is still recorded, if that takes no longer than it should.
        yield* Effect.timeoutOption(Fiber.await(recording), lastWordsMillis)
        yield* Fiber.interrupt(recording)
      }
      return yield* settled
    })
  )
})
