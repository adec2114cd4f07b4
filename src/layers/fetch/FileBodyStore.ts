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
import type { FetchTarget } from "../../services/fetch/FetchRequest.ts"
import { BoundedMap } from "../../services/tasks/BoundedMap.ts"
import { isOutOfFiles } from "./dns/Answer.ts"

/** Directories that are known to exist; asking again is only slower. */
const knownMax = 10_000

const partial = /^\.sluice-(\d+)-\d+\.part$/
const partialName = (serial: number) => `.sluice-${process.pid}-${serial}.part`

/** What a file system has to take when the store opens. */
const probeBytes = 4096

/** What is asked of the file system. */
export type Files = Pick<typeof fs, "mkdir" | "open" | "readdir" | "rename" | "rm">

const make = (directory: string, files: Files): Effect.Effect<BodyStore["Service"], BodyStoreError> =>
  Effect.gen(function*() {
    const root = path.resolve(directory)
    yield* makeFolders(files, "", root)
    yield* sweep(files, root)
    yield* probe(files, root)
    const known = new BoundedMap<string, true>(knownMax)
    let serial = 1

    const ensureDirectory = (url: string, name: string): Effect.Effect<void, BodyStoreError> => {
      if (known.has(name)) return Effect.void
      return makeFolders(files, url, name).pipe(
        Effect.andThen(syncDirectory(files, url, root)),
        Effect.andThen(Effect.sync(() => known.set(name, true)))
      )
    }

    const writer = Effect.fnUntraced(
      function*(target: FetchTarget): Effect.fn.Return<BodyWriter, BodyStoreError, Scope.Scope> {
        const { url } = target
        const name = BodyName.of(target, hash("sha256", BodyName.identity(target), "hex").slice(0, 32))
        const parent = path.join(root, name.directory)
        const final = path.join(parent, name.file)
        const temporary = path.join(parent, partialName(serial++))
        yield* ensureDirectory(url, parent)
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
            Effect.andThen(io(final, () => files.rename(temporary, final))),
            Effect.andThen(Effect.sync(() => {
              state.isCommitted = true
            })),
            Effect.andThen(syncDirectory(files, url, parent)),
            Effect.as(final),
            Effect.uninterruptible
          )
        }
      }
    )
    return BodyStore.of({ writer })
  })

/**
 * Keeps bodies below `directory`, in one directory for each host. Fails when it cannot be made, read, or written to.
 *
 * @param files the system's own
 */
export const layer = (directory: string, files: Files = fs): Layer.Layer<BodyStore, BodyStoreError> =>
  Layer.effect(BodyStore, make(directory, files))

/** The same for whatever directory. */
export const layerStores: Layer.Layer<BodyStores> = Layer.succeed(BodyStores, {
  open: (directory) => make(directory, fs)
})

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
const makeFolders = (files: Files, url: string, name: string): Effect.Effect<void, BodyStoreError> => {
  const make = attemptOn(url)(name, () => files.mkdir(name)).pipe(
    Effect.asVoid,
    Effect.catchIf(({ code }) => code === "EEXIST", () => Effect.void)
  )
  return Effect.catchIf(
    make,
    ({ code }) => code === "ENOENT" && path.dirname(name) !== name,
    () => Effect.andThen(makeFolders(files, url, path.dirname(name)), make)
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
  const hosts = yield* io(root, () => files.readdir(root, { withFileTypes: true }))
  const parents = hosts.filter((host) => host.isDirectory()).map((host) => path.join(root, host.name))
  for (const parent of [root, ...parents]) {
    const names = yield* io(parent, () => files.readdir(parent))
    for (const name of names) {
      const owner = partial.exec(name)?.[1]
      if (owner === undefined || (yield* isRunning(Number(owner)))) continue
      yield* io(parent, () => files.rm(path.join(parent, name), { force: true }))
    }
  }
})

/** Whether a process of that id is there, be it someone else's. */
const isRunning = (pid: number): Effect.Effect<boolean> =>
  Effect.match(
    Effect.try({ try: () => process.kill(pid, 0), catch: codeOf }),
    { onFailure: (code) => code !== "ESRCH", onSuccess: () => pid !== process.pid }
  )
