/**
 * How a Sluice process lives and leaves: signals, drain, exit codes, the task tree on request. Entrypoints hand their
 * whole program to `run` and do nothing else.
 */
import { Cause, Context, Deferred, Duration, Effect, Exit, Fiber, Option, Queue, Runtime, type Scope } from "effect"
import * as Shutdown from "../../services/tasks/Shutdown.ts"
import * as Tasks from "../../services/tasks/Tasks.ts"
import { CurrentScreen } from "../terminal/Screen.ts"

/** How the process ends. */
export interface Options<in A, in E> {
  /**
   * After the first SIGINT or SIGTERM: how long the registered drain steps may take, before the program is interrupted.
   *
   * @default "25 seconds"
   */
  readonly grace?: Duration.Input | undefined
  /**
   * How long the interrupted program may clean up, before what overstays is named and the process leaves.
   *
   * @default "5 seconds"
   */
  readonly interruptGrace?: Duration.Input | undefined
  /**
   * The exit code of a program that ended by itself, without a defect.
   *
   * @default 0 for a success, `Runtime.errorExitCode` of the error or 1 for a failure
   */
  readonly exitCode?: ((exit: Exit.Exit<A, E>) => number) | undefined
  /**
   * What to say on stderr about a typed failure; `undefined` for nothing.
   *
   * @default the error's message
   */
  readonly describe?: ((error: E) => string | undefined) | undefined
  /**
   * What is written for a text.
   *
   * @default the text
   */
  readonly line?: ((text: string) => string) | undefined
}

type SignalName = "SIGINT" | "SIGTERM"

const exitCodes = { SIGINT: 130, SIGTERM: 143 } as const
const overstayersMax = 20

/**
 * Runs a program as the process. The first SIGINT or SIGTERM drains within the grace, then interrupts, then names what
 * overstayed, and exits with 130 or 143; a second one exits at once, unless the program goes on for a while before it drains
 * (`Shutdown.goOnFor`): it then ends that time. SIGUSR2 prints the live task tree on stderr. A
 * defect prints its cause once and exits with 1.
 */
export const run = <A, E>(program: Effect.Effect<A, E>, options?: Options<A, E>): void =>
  runProcess(
    Effect.tapCause(Effect.scoped(live(program, options)), (cause) => say(Cause.pretty(cause))).pipe(
      Effect.provideService(Line, options?.line ?? Line.defaultValue())
    ),
    { disableErrorReporting: true }
  )

/** How the process leaves, and whether somebody asked it to. */
class Departure {
  readonly code: number
  readonly isAsked: boolean
  constructor(code: number, isAsked: boolean) {
    this.code = code
    this.isAsked = isAsked
  }
}

const runProcess = Runtime.makeRunMain(({ fiber }) => {
  fiber.addObserver((exit) =>
    leave(Exit.isSuccess(exit) && exit.value instanceof Departure ? exit.value : new Departure(1, false))
  )
})

/**
 * Leaves when what was written to a pipe has been taken, so that the last lines are not lost, however late the reader begins.
 * Who asked the process to go does not wait for a reader that has stopped reading.
 */
const leave = ({ code, isAsked }: Departure): void => {
  process.exitCode = code
  let open = 2
  const done = () => {
    if (--open === 0) process.exit(code)
  }
  if (isAsked) setTimeout(() => process.exit(code), 1000).unref()
  process.stdout.write("", done)
  process.stderr.write("", done)
}

/** How a text is written. */
const Line: Context.Reference<(text: string) => string> = Context.Reference("sluice/programs/process/Main/Line", {
  defaultValue: () => (text: string) => text
})

const say = (text: string): Effect.Effect<void> =>
  Effect.map(Line, (line) => void process.stderr.write(`${line(text)}\n`))

/** What is said while the program goes on leaves its live region in one piece. */
const sayAbove = (text: string): Effect.Effect<void> =>
  Effect.flatMap(CurrentScreen, (screen) => screen.takes(text) ? Effect.void : say(text))

const live = Effect.fnUntraced(function*<A, E>(
  program: Effect.Effect<A, E>,
  options: Options<A, E> | undefined
): Effect.fn.Return<Departure, never, Scope.Scope> {
  const shutdown = yield* Shutdown.make
  const signal = yield* firstSignal(shutdown)
  const uncaught = yield* uncaughtDefect
  yield* dumpOnRequest
  const fiber = yield* Effect.forkDetach(
    Effect.provideService(program, Shutdown.CurrentShutdown, shutdown),
    { startImmediately: true }
  )
  const first = yield* Effect.raceAllFirst([Fiber.await(fiber), Deferred.await(signal), Deferred.await(uncaught)])
  if (typeof first === "string") {
    yield* Effect.raceFirst(drain(shutdown, first, options), Fiber.await(fiber))
    const exit = yield* stop(fiber, options)
    // The program was asked to stop: only what went wrong on the way out is worth a word.
    if (Option.isSome(exit)) yield* reportDefect(exit.value)
    return new Departure(exitCodes[first], true)
  }
  if (Exit.isExit(first)) return new Departure(yield* conclude(first, options), false)
  yield* say(Cause.pretty(first))
  yield* stop(fiber, options)
  return new Departure(1, false)
})

const drain = Effect.fnUntraced(function*<A, E>(
  shutdown: Shutdown.Shutdown,
  signal: SignalName,
  options: Options<A, E> | undefined
) {
  const drained = yield* shutdown.drain(signal, options?.grace ?? "25 seconds")
  if (drained.overstayed.length > 0) yield* say(`not drained within the grace: ${drained.overstayed.join(", ")}`)
})

/** Interrupts the program; `None` when it overstayed its grace, and then says who. */
const stop = Effect.fnUntraced(function*<A, E>(fiber: Fiber.Fiber<A, E>, options: Options<A, E> | undefined) {
  const grace = Duration.fromInputUnsafe(options?.interruptGrace ?? "5 seconds")
  fiber.interruptUnsafe(undefined)
  const exit = yield* Effect.timeoutOption(Fiber.await(fiber), grace)
  if (Option.isNone(exit)) {
    const tree = yield* Tasks.snapshot()
    const names = tree.tasks.filter((task) => task.kind !== "root").slice(0, overstayersMax).map((task) => task.name)
    const who = names.length === 0 ? "the program itself" : names.join(", ")
    yield* say(`still running ${Duration.format(grace)} after the interruption, left behind: ${who}`)
  }
  return exit
})

const conclude = Effect.fnUntraced(function*<A, E>(exit: Exit.Exit<A, E>, options: Options<A, E> | undefined) {
  if (Exit.isFailure(exit)) {
    if (Cause.hasDies(exit.cause)) {
      yield* reportDefect(exit)
      return 1
    }
    const failure = exit.cause.reasons.find(Cause.isFailReason)
    if (failure !== undefined) {
      const text = options?.describe === undefined ? messageOf(failure.error) : options.describe(failure.error)
      if (text !== undefined) yield* say(text)
    }
  }
  if (options?.exitCode !== undefined) return options.exitCode(exit)
  return Exit.isSuccess(exit) ? 0 : Runtime.getErrorExitCode(Cause.squash(exit.cause))
})

const reportDefect = (exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> =>
  Exit.isFailure(exit) && Cause.hasDies(exit.cause) ? say(Cause.pretty(exit.cause)) : Effect.void

const messageOf = (error: unknown): string => error instanceof Error ? error.message : String(error)

/** Listens for the life of the scope. */
const listen = (event: string, listener: (value: unknown) => void): Effect.Effect<void, never, Scope.Scope> =>
  Effect.asVoid(
    Effect.acquireRelease(
      Effect.sync(() => process.on(event, listener)),
      () => Effect.sync(() => process.off(event, listener))
    )
  )

/** The second signal ends the time in which the program goes on before it drains, when there is one; else the process exits. */
const firstSignal = Effect.fnUntraced(function*(shutdown: Shutdown.Shutdown) {
  const first = yield* Deferred.make<SignalName>()
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    yield* listen(name, () => {
      if (!Deferred.doneUnsafe(first, Exit.succeed(name)) && !shutdown.hurryUnsafe()) process.exit(exitCodes[name])
    })
  }
  return first
})

const uncaughtDefect = Effect.gen(function*() {
  const defect = yield* Deferred.make<Cause.Cause<never>>()
  for (const event of ["uncaughtException", "unhandledRejection"]) {
    yield* listen(event, (error) => void Deferred.doneUnsafe(defect, Exit.succeed(Cause.die(error))))
  }
  return defect
})

const dumpOnRequest = Effect.gen(function*() {
  // One request is enough to wait: a second one while the tree is being printed would print the same.
  const requests = yield* Queue.dropping<void>(1)
  yield* listen("SIGUSR2", () => void Queue.offerUnsafe(requests, undefined))
  yield* Effect.forkScoped(
    Effect.forever(Effect.andThen(Queue.take(requests), Effect.flatMap(Tasks.dump, sayAbove))),
    { startImmediately: true }
  )
})
