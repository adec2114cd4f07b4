import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Ref, Sink, Stdio, Terminal } from "effect"
import { TestClock } from "effect/testing"
import { withLiveRegion } from "../../../src/programs/terminal/LiveRegion.ts"
import { say } from "../../../src/programs/terminal/Say.ts"

const escape = "\u001b"
const tokens = new RegExp(`${escape}\\[\\d+A|${escape}\\[J|${escape}\\[\\?25[lh]|\\n|[^${escape}\\n]+`, "g")

/** A terminal as far as a live region uses it: what is on it after all that was written. */
const screenOf = (written: string): ReadonlyArray<string> => {
  const rows: Array<string> = []
  let row = 0
  for (const [token] of written.matchAll(tokens)) {
    if (token === "\n") row++
    else if (token === `${escape}[J`) rows.length = row
    else if (token.endsWith("A")) row -= Number.parseInt(token.slice(2))
    else if (!token.startsWith(escape)) rows[row] = token
  }
  return rows
}

const makeScreen = Effect.gen(function*() {
  const written = yield* Ref.make("")
  const sink = Sink.forEach((chunk: string | Uint8Array) => Ref.update(written, (text) => text + String(chunk)))
  const layer = (isTerminal: boolean) =>
    Layer.merge(
      Stdio.layerTest({ stderr: () => sink, stderrIsTerminal: Effect.succeed(isTerminal) }),
      Layer.succeed(
        Terminal.Terminal,
        Terminal.make({
          columns: Effect.succeed(20),
          rows: Effect.succeed(10),
          size: Effect.never,
          readInput: Effect.never,
          readLine: Effect.never,
          display: () => Effect.void
        })
      )
    )
  return { written, layer, screen: Effect.map(Ref.get(written), screenOf) }
})

describe("LiveRegion", () => {
  it.effect("redraws in place, says things above, and leaves the last frame", () =>
    Effect.gen(function*() {
      const { layer, screen, written } = yield* makeScreen
      const end = yield* Deferred.make<void>()
      let frame = 0
      const fiber = yield* withLiveRegion(
        Effect.andThen(Effect.delay(say(["line 7 is malformed"]), 150), Deferred.await(end)),
        Effect.sync(() => ++frame % 2 === 0 ? [`frame ${frame}`] : [`frame ${frame}`, "second line"])
      ).pipe(Effect.provide(layer(true)), Effect.forkChild({ startImmediately: true }))
      yield* TestClock.adjust(0)
      assert.deepStrictEqual(yield* screen, ["frame 1", "second line"])
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(yield* screen, ["frame 2"])
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(yield* screen, ["line 7 is malformed", "frame 3", "second line"])
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(yield* screen, ["line 7 is malformed", "frame 4"])
      yield* Deferred.succeed(end, undefined)
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(yield* screen, ["line 7 is malformed", "frame 5", "second line"])
      assert.isTrue((yield* Ref.get(written)).endsWith("\u001b[?25h"))
    }))

  it.effect("shows the cursor again when it is interrupted, with what was said last", () =>
    Effect.gen(function*() {
      const { layer, screen, written } = yield* makeScreen
      const fiber = yield* withLiveRegion(
        Effect.onInterrupt(Effect.never, () => say(["interrupted"])),
        Effect.succeed(["at work"])
      ).pipe(Effect.provide(layer(true)), Effect.forkChild({ startImmediately: true }))
      yield* TestClock.adjust(0)
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(yield* screen, ["interrupted", "at work"])
      assert.isTrue((yield* Ref.get(written)).endsWith("\u001b[?25h"))
    }))

  it.effect("cuts a line at the edge", () =>
    Effect.gen(function*() {
      const { layer, screen } = yield* makeScreen
      yield* Effect.provide(withLiveRegion(Effect.void, Effect.succeed(["x".repeat(30)])), layer(true))
      assert.deepStrictEqual(yield* screen, [`${"x".repeat(18)}…`])
    }))

  it.effect("writes the last frame only, and no control characters, where there is no terminal", () =>
    Effect.gen(function*() {
      const { layer, written } = yield* makeScreen
      yield* Effect.provide(withLiveRegion(say(["said"]), Effect.succeed(["done"])), layer(false))
      assert.strictEqual(yield* Ref.get(written), "said\ndone\n")
    }))
})
