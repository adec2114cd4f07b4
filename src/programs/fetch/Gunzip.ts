/**
 * Input that may be compressed: gzip is known by its first bytes, whatever its file is called.
 */
import * as NodeStream from "@effect/platform-node/NodeStream"
import { Effect, Pull, Stream } from "effect"
import { createGunzip } from "node:zlib"

const magic = [0x1f, 0x8b] as const

/** Bytes as they are, or undone when they are gzip (RFC 1952), all members of it. `onBroken` makes the error of what does not decode. */
export const gunzip =
  <E2>(onBroken: (problem: string) => E2) =>
  <E, R>(bytes: Stream.Stream<Uint8Array, E, R>): Stream.Stream<Uint8Array, E | E2, R> =>
    Stream.unwrap(Effect.gen(function*() {
      const pull = yield* Stream.toPull(bytes)
      const head: Array<Uint8Array> = []
      const more = Pull.matchEffect(pull, {
        onSuccess: (chunks) =>
          Effect.sync(() => {
            head.push(...chunks.filter((chunk) => chunk.length > 0))
            return true
          }),
        onFailure: (cause) => Effect.failCause(cause),
        onDone: () => Effect.succeed(false)
      })
      const length = () => head.reduce((sum, chunk) => sum + chunk.length, 0)
      while (length() < magic.length && (yield* more)) { /* a byte at a time, should it come so */ }
      const whole = Stream.concat(Stream.fromIterable(head), Stream.fromPull(Effect.succeed(pull)))
      const [first, second] = Buffer.concat(head.slice(0, magic.length))
      if (first !== magic[0] || second !== magic[1]) return whole
      return NodeStream.pipeThroughDuplex(whole, {
        evaluate: createGunzip,
        onError: (error) => onBroken(isCutOff(error) ? "its gzip data ends too soon" : "its gzip data is broken")
      })
    }))

const isCutOff = (error: unknown): boolean => error instanceof Error && "code" in error && error.code === "Z_BUF_ERROR"
