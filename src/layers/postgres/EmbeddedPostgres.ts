/**
 * Real Postgres that comes with the package and starts by itself: data in `<data dir>/pg`, reached over a unix socket.
 *
 * Who owns the server: a small supervisor process per data directory (`supervisor/supervisorProcess`), never a user.
 * A user is a connection to the supervisor; the kernel closes it however the user ends. The last one to go stops the
 * server. One supervisor per directory is guaranteed by a kernel lock on `<data dir>/pg.lock`.
 */
import { Config, Context, Deferred, Effect, Layer, Queue, Ref, Schedule, type Scope } from "effect"
import { createHash } from "node:crypto"
import {
  accessSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  readlinkSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join, resolve } from "node:path"
import { getuid } from "node:process"
import * as Setting from "../../services/tasks/Setting.ts"
import { DataDirectoryUnusable, DiskFull, type EmbeddedFailure } from "./EmbeddedFailure.ts"
import * as SupervisorClient from "./supervisor/Client.ts"
import * as Files from "./supervisor/Files.ts"
import type { SupervisorOptions } from "./supervisor/Protocol.ts"

/** The server of one data directory, running for as long as the service's scope is open. */
export class EmbeddedPostgres extends Context.Service<EmbeddedPostgres, {
  /** The data directory, absolute. */
  readonly directory: string
  /** The server's unix socket, at most 107 bytes long. */
  readonly socketPath: string
  /** The processes behind it, of the present start. */
  readonly processes: Effect.Effect<{ readonly supervisorPid: number; readonly serverPid: number }>
}>()("sluice/layers/postgres/EmbeddedPostgres") {}

/** Where the news of a start go that takes a moment (a first start, a copy); by default to the log. */
export const Progress: Context.Reference<(text: string) => Effect.Effect<void>> = Context.Reference(
  "sluice/layers/postgres/EmbeddedPostgres/Progress",
  { defaultValue: () => (text: string): Effect.Effect<void> => Effect.logInfo(text) }
)

export interface Options {
  /** The data directory. */
  readonly directory: string
  /** How long the server stays after its last user, in milliseconds. @default 0 */
  readonly lingerMillis?: number | undefined
  /** Server settings that replace the built-in ones; they count for whoever starts the server. */
  readonly settings?: Readonly<Record<string, string>> | undefined
}

/** The name of the database's superuser, and of the database made for Sluice. */
export const username = "sluice"
export const database = "postgres"

/** What the kernel takes as the path of a unix socket (sun_path less its NUL; macOS has 104 in all). */
const socketPathBytesMax = 103
const socketName = `${Files.cluster}/${Files.serverSocket}`

/**
 * A way into the data directory that is short enough for a socket: the directory itself, or a link to it in the temporary
 * folder. Others may write there too, so the link must be ours and lead to our directory.
 */
const shortWay = (directory: string): Effect.Effect<string, DataDirectoryUnusable> => {
  if (Buffer.byteLength(join(directory, socketName)) <= socketPathBytesMax) return Effect.succeed(directory)
  const uid = getuid?.() ?? 0
  const digest = createHash("sha256").update(directory).digest("hex").slice(0, 12)
  const link = join(tmpdir(), `sluice-${uid}-${digest}`)
  return Effect.try({
    try: () => symlinkSync(directory, link),
    catch: (error) => new DataDirectoryUnusable({ directory, detail: `no short link at ${link}: ${String(error)}` })
  }).pipe(
    Effect.catchIf(
      () => lstatSync(link, { throwIfNoEntry: false })?.uid === uid && readlinkSync(link) === directory,
      () => Effect.void
    ),
    Effect.as(link)
  )
}

const unusable = (directory: string) => (error: unknown): DataDirectoryUnusable | DiskFull => {
  const detail = error instanceof Error ? error.message : String(error)
  return detail.startsWith("ENOSPC")
    ? new DiskFull({ directory, detail: "no space left on device" })
    : new DataDirectoryUnusable({ directory, detail })
}

/** One by one: Node's own `recursive` never ends where a folder can neither be found nor made (/proc). */
const makeFolders = (directory: string): Effect.Effect<void, EmbeddedFailure> =>
  Effect.suspend(() => {
    if (existsSync(directory)) return Effect.void
    const make = Effect.try({ try: () => mkdirSync(directory), catch: unusable(directory) }).pipe(
      // Another process may have made it at the same moment.
      Effect.catchIf(() => existsSync(directory), () => Effect.void)
    )
    return Effect.andThen(makeFolders(dirname(directory)), make)
  })

/** What is in a folder that was made here is no part of the project around it. One that was there is not ours to say so of. */
const makeIgnored = (directory: string): Effect.Effect<void, EmbeddedFailure> =>
  Effect.suspend(() => {
    if (existsSync(directory)) return Effect.void
    const ignore = Effect.try({
      try: () => writeFileSync(join(directory, ".gitignore"), "*\n"),
      catch: unusable(directory)
    })
    return Effect.andThen(makeFolders(directory), ignore)
  })

const makeDirectory = (directory: string): Effect.Effect<void, EmbeddedFailure> =>
  makeIgnored(directory).pipe(
    Effect.andThen(Effect.try({
      try: () => {
        // `/.` is what fails when it is a file.
        accessSync(`${directory}/.`, constants.R_OK | constants.W_OK | constants.X_OK)
      },
      catch: unusable(directory)
    })),
    Effect.asVoid
  )

/** Uses the server of `options.directory` for as long as the scope is open, through every restart of it. */
export const make = Effect.fn("EmbeddedPostgres.make")(function*(
  options: Options
): Effect.fn.Return<EmbeddedPostgres["Service"], EmbeddedFailure, Scope.Scope> {
  const directory = resolve(options.directory)
  yield* makeDirectory(directory)
  const way = yield* shortWay(directory)
  const report = yield* Progress
  const told: SupervisorOptions = {
    directory,
    temporary: tmpdir(),
    lingerMillis: options.lingerMillis ?? 0,
    settings: options.settings ?? {}
  }
  const up = yield* Deferred.make<void, EmbeddedFailure>()
  const processes = yield* Ref.make({ supervisorPid: 0, serverPid: 0 })
  const useOnce = Effect.scoped(Effect.gen(function*() {
    const { messages, ready } = yield* SupervisorClient.use(join(way, Files.controlSocket), told, report)
    yield* Ref.set(processes, ready)
    yield* Deferred.succeed(up, undefined)
    while (true) {
      const message = yield* Queue.take(messages)
      if (message.type === "ready") yield* Ref.set(processes, message)
      if (message.type === "restarting") yield* Effect.logWarning(message.text)
      if (message.type === "failed") return message.reason
    }
  }))
  yield* useOnce.pipe(
    // The server was up: the next try is a first one again, however often this has happened.
    Effect.flatMap((reason) => Effect.andThen(Effect.logError(reason.message), Effect.sleep(restartPause))),
    // The supervisor is gone and we are not: some other hand ended it. Its server goes with it, so a new one is needed.
    Effect.catchTag(
      "Done",
      () => Effect.logWarning("the supervisor of the embedded database is gone; starting another")
    ),
    Effect.tapError((error) =>
      Effect.flatMap(Deferred.fail(up, error), (isFirst) => isFirst ? Effect.interrupt : Effect.logError(error.message))
    ),
    Effect.retry(restartPolicy),
    Effect.forever,
    Effect.forkScoped({ startImmediately: true })
  )
  yield* Deferred.await(up)
  return { directory, socketPath: join(way, socketName), processes: Ref.get(processes) }
})

const restartPause = "100 millis"

/** Patient without end: as long as the program lives there is nothing better to do than to try again. */
const restartPolicy = Schedule.min([Schedule.exponential(restartPause), Schedule.spaced("5 seconds")])

/** The server of a given data directory. */
export const layer = (options: Options): Layer.Layer<EmbeddedPostgres, EmbeddedFailure> =>
  Layer.effect(EmbeddedPostgres, make(options))

/** The data directory: `SLUICE_DATA_DIR`. @default ".sluice" */
export const dataDirectory: Config.Config<string> = Setting.read(
  "SLUICE_DATA_DIR",
  "the path of a directory, such as .sluice",
  (text) => text.trim() === "" ? undefined : text
).pipe(Config.withDefault(".sluice"))

/** The server of the configured data directory. */
export const layerConfig: Layer.Layer<EmbeddedPostgres, EmbeddedFailure | Config.ConfigError> = Layer.effect(
  EmbeddedPostgres,
  Effect.flatMap(dataDirectory, (directory) => make({ directory }))
)
