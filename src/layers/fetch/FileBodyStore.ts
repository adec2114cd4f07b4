/**
 * Bodies as files: written beside their final name, synced, renamed, and the directory synced, so that a name is either not there or
 * whole. What a killed process left half-written is swept when the store opens.
 */
import { Effect, Layer, Schedule, type Scope } from "effect"
import { hash } from "node:crypto"
import * as fs from "node:fs/promises"
import * as path from "node:path"
import * as process from "node:process"
import * as BodyName from "../../services/fetch/BodyName.ts"
import { BodyStore, BodyStores, type BodyWriter } from "../../services/fetch/BodyStore.ts"
import { BodyStoreError } from "../../services/fetch/FetchError.ts"
import { type FetchTarget, keyOf } from "../../services/fetch/FetchRequest.ts"
import type { SaveTemplate } from "../../services/fetch/SaveTemplate.ts"
import { BoundedMap } from "../../services/tasks/BoundedMap.ts"
import { isOutOfFiles } from "./dns/Answer.ts"

/** Directories that are known to exist; asking again is only slower. */
const knownMax = 10_000

const partial = /^\.sluice-(\d+)-\d+\.part$/
const partialName = (serial: number) => `.sluice-${process.pid}-${serial}.part`

/** What a file system has to take when the store opens. */
const probeBytes = 4096

/** What is asked of the file system. */
export type Files = Pick<typeof fs, "link" | "mkdir" | "open" | "readdir" | "rename" | "rm">

export interface FileBodyStoreOptions {
  /** What bodies are called below the directory. @default undefined: `host/path-digest.ext` */
  readonly saveAs?: SaveTemplate | undefined
  /** @default the system's own */
  readonly files?: Files | undefined
}

const make = (
  directory: string,
  { files = fs, saveAs }: FileBodyStoreOptions
): Effect.Effect<BodyStore["Service"], BodyStoreError> =>
  Effect.gen(function*() {
    const root = path.resolve(directory)
    yield* makeFolders(files, root)
    yield* sweep(files, root)
    yield* probe(files, root)
    const placeOf = placing(files, root, saveAs)
    let serial = 1

    const writer = Effect.fnUntraced(function*(
      target: FetchTarget,
      contentType: string | undefined
    ): Effect.fn.Return<BodyWriter, BodyStoreError, Scope.Scope> {
      const { url } = target
      const place = yield* placeOf(target, contentType)
      const temporary = path.join(root, partialName(serial++))
      const io = attemptOn(url)
      const state = { isOpen: true, isCommitted: false }
      const file = yield* Effect.acquireRelease(
        io(temporary, () => files.open(temporary, "wx")),
        (file) =>
          // Leaving nothing behind is best effort: what stays is swept at the next start.
          Effect.andThen(
            state.isOpen ? Effect.ignore(io(temporary, () => file.close())) : Effect.void,
            state.isCommitted ? Effect.void : Effect.ignore(io(temporary, () => files.rm(temporary, { force: true })))
          )
      )
      return {
        write: (chunk) => io(temporary, () => writeAll(file, chunk)),
        commit: io(temporary, () => file.sync()).pipe(
          Effect.andThen(io(temporary, () => {
            state.isOpen = false
            return file.close()
          })),
          Effect.andThen(publish(files, temporary, { ...place, url })),
          Effect.tap(() => {
            state.isCommitted = true
            return syncDirectory(files, url, place.parent)
          }),
          Effect.uninterruptible
        )
      }
    })
    return BodyStore.of({ writer })
  })

/**
 * Keeps bodies below `directory`. The same request has the same name, whose file is replaced; where a template's name is taken the body is
 * called by the digest of its request, too. Fails when the directory cannot be made, read, or written to.
 */
export const layer = (
  directory: string,
  options: FileBodyStoreOptions = {}
): Layer.Layer<BodyStore, BodyStoreError> => Layer.effect(BodyStore, make(directory, options))

/** The same for whatever directory. */
export const layerStores: Layer.Layer<BodyStores> = Layer.succeed(BodyStores, {
  open: (directory, saveAs) => make(directory, { saveAs })
})

/** Where a body goes. */
interface Place {
  readonly parent: string
  readonly file: string
  /** Instead, when there is a file of that name already; `undefined`: that one is replaced. */
  readonly spare: string | undefined
}

/** Finds bodies their places, in directories that are there. */
const placing = (files: Files, root: string, saveAs: SaveTemplate | undefined) => {
  const known = new BoundedMap<string, true>(knownMax)

  /** Makes a directory and those above it up to the root, and their names durable. */
  const ensureDirectory = (url: string, name: string): Effect.Effect<void, BodyStoreError> => {
    if (name === root || known.has(name)) return Effect.void
    const above = path.dirname(name)
    return ensureDirectory(url, above).pipe(
      // What is above is there: this fails only where the name is a file's.
      Effect.andThen(attemptOn(url)(name, () => files.mkdir(name, { recursive: true }))),
      Effect.andThen(syncDirectory(files, url, above)),
      Effect.andThen(Effect.sync(() => known.set(name, true)))
    )
  }

  return Effect.fnUntraced(function*(target: FetchTarget, contentType: string | undefined) {
    const digest = hash("sha256", keyOf(target), "hex").slice(0, 32)
    const { directories, file, spare } = BodyName.of({ target, contentType, digest }, saveAs)
    const parent = path.join(root, ...directories)
    const place: Place = { parent, file: path.join(parent, file), spare: spare && path.join(parent, spare) }
    return yield* Effect.as(ensureDirectory(target.url, parent), place).pipe(
      // A body has the name that is wanted for a directory: then it is called by its digest, above.
      Effect.catchIf(
        ({ code }) => spare !== undefined && notDirectoryCodes.has(code),
        (): Effect.Effect<Place> =>
          Effect.succeed({ parent: root, file: path.join(root, spare ?? digest), spare: undefined })
      )
    )
  })
}

/** A part of a path is a file. */
const notDirectoryCodes: ReadonlySet<string> = new Set(["EEXIST", "ENOTDIR"])

/** The name is taken, or the file system gives a file only one name. */
const unlinkedCodes: ReadonlySet<string> = new Set([
  "EEXIST",
  "EMLINK",
  "ENOSYS",
  "ENOTSUP",
  "EOPNOTSUPP",
  "EPERM",
  "EXDEV"
])

/** Gives a whole body its name, which it says. */
const publish = (
  files: Files,
  temporary: string,
  { file, spare, url }: Place & { readonly url: string }
): Effect.Effect<string, BodyStoreError> => {
  const io = attemptOn(url)
  const rename = (to: string) => Effect.as(io(to, () => files.rename(temporary, to)), to)
  if (spare === undefined) return rename(file)
  return io(file, () => files.link(temporary, file)).pipe(
    Effect.andThen(Effect.ignore(io(temporary, () => files.rm(temporary)))),
    Effect.as(file),
    Effect.catchIf(({ code }) => unlinkedCodes.has(code), () => rename(spare))
  )
}

const codeOf = (cause: unknown): string =>
  typeof cause === "object" && cause !== null && "code" in cause && typeof cause.code === "string"
    ? cause.code
    : "UNKNOWN"

/** Sockets and other bodies free their files soon: five seconds. */
const untilFreed = { schedule: Schedule.spaced("100 millis"), times: 50 }

/**
 * A file operation for this URL; its failure carries the path and the system's code. It cannot be interrupted: the system goes on with it
 * anyway, and who cleans up after it must know that it has ended. When the process is out of files it waits a little for one.
 */
const attemptOn = (url: string) => <A>(name: string, operation: () => Promise<A>): Effect.Effect<A, BodyStoreError> =>
  Effect.uninterruptible(Effect.tryPromise({
    try: operation,
    catch: (cause) => new BodyStoreError({ url, path: name, code: codeOf(cause) })
  })).pipe(Effect.retry({ ...untilFreed, while: ({ code }) => isOutOfFiles(code) }))

const writeAll = (file: fs.FileHandle, chunk: Uint8Array): Promise<void> =>
  file.write(chunk).then(({ bytesWritten }) =>
    // A full disk may take a part before it refuses the rest.
    bytesWritten < chunk.length ? writeAll(file, chunk.subarray(bytesWritten)) : undefined
  )

/** One by one: Node's own `recursive` never ends where a folder can neither be found nor made (/proc). */
const makeFolders = (files: Files, name: string): Effect.Effect<void, BodyStoreError> => {
  const make = attemptOn("")(name, () => files.mkdir(name)).pipe(
    Effect.asVoid,
    Effect.catchIf(({ code }) => code === "EEXIST", () => Effect.void)
  )
  return Effect.catchIf(
    make,
    ({ code }) => code === "ENOENT" && path.dirname(name) !== name,
    () => Effect.andThen(makeFolders(files, path.dirname(name)), make)
  )
}

/** Writes something and removes it: a disk that is full or read-only is found before anything is fetched. */
const probe = (files: Files, root: string): Effect.Effect<void, BodyStoreError> => {
  const name = path.join(root, partialName(0))
  const io = attemptOn("")
  return Effect.acquireUseRelease(
    io(name, () => files.open(name, "w")),
    (file) => io(name, () => writeAll(file, new Uint8Array(probeBytes)).then(() => file.sync())),
    (file) =>
      Effect.ignore(
        Effect.andThen(Effect.exit(io(name, () => file.close())), io(name, () => files.rm(name, { force: true })))
      )
  )
}

/** Makes the names in a directory durable. */
const syncDirectory = (files: Files, url: string, directory: string): Effect.Effect<void, BodyStoreError> => {
  const io = attemptOn(url)
  return Effect.acquireUseRelease(
    io(directory, () => files.open(directory, "r")),
    (handle) => io(directory, () => handle.sync()),
    (handle) => io(directory, () => handle.close())
  )
}

/** Removes what processes that are gone have left half-written. */
const sweep = Effect.fn("FileBodyStore.sweep")(function*(files: Files, root: string) {
  const io = attemptOn("")
  for (const name of yield* io(root, () => files.readdir(root))) {
    const owner = partial.exec(name)?.[1]
    if (owner === undefined || (yield* isRunning(Number(owner)))) continue
    yield* io(root, () => files.rm(path.join(root, name), { force: true }))
  }
})

/** Whether a process of that id is there, be it someone else's. */
const isRunning = (pid: number): Effect.Effect<boolean> =>
  Effect.match(
    Effect.try({ try: () => process.kill(pid, 0), catch: codeOf }),
    { onFailure: (code) => code !== "ESRCH", onSuccess: () => pid !== process.pid }
  )
