/**
 * A last line that was not written to its end: the disk was full, or the process was killed.
 */
import { Effect, FileSystem, Option, type PlatformError } from "effect"

export interface Format {
  /** What every line begins with: another one is not ours, and is not cut. */
  readonly lead: string
  readonly end: string
  /** Whether a line lacks nothing but its end. */
  readonly isWhole: (line: string) => boolean
}

/** A line is not longer: what goes on for longer is no outcome. */
const tailBytes = 1024 * 1024

const newline = 0x0a

/**
 * Cuts the last line of a file when it is torn, and ends it when it lacks its end only. Files that are no regular ones stay as they are.
 */
export const mend = Effect.fnUntraced(
  function*(name: string, format: Format): Effect.fn.Return<void, PlatformError.PlatformError, FileSystem.FileSystem> {
    const files = yield* FileSystem.FileSystem
    const info = yield* Effect.option(files.stat(name))
    if (Option.isNone(info) || info.value.type !== "File" || info.value.size === 0n) return
    const size = Number(info.value.size)
    yield* Effect.scoped(Effect.gen(function*() {
      const handle = yield* files.open(name, { flag: "r+" })
      yield* handle.seek(BigInt(Math.max(0, size - tailBytes)), "start")
      const tail = Option.getOrElse(yield* handle.readAlloc(tailBytes), () => new Uint8Array())
      if (tail.at(-1) === newline) return
      const last = tail.subarray(tail.lastIndexOf(newline) + 1)
      const line = new TextDecoder().decode(last)
      const isOurs = last.length < tailBytes && (line.startsWith(format.lead) || format.lead.startsWith(line))
      // Another process on the same run may have been in the middle of it.
      if ((yield* handle.stat).size !== info.value.size) return
      if (isOurs && !format.isWhole(line)) yield* handle.truncate(size - last.length)
      else {
        yield* handle.seek(BigInt(size), "start")
        yield* handle.writeAll(new TextEncoder().encode(line.endsWith("\r") ? "\n" : format.end))
      }
    }))
  }
)
