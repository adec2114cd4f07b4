import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Console, Deferred, Effect, Fiber, Layer, Logger, Ref, Sink, Stdio, Terminal } from "effect"
import { TestClock } from "effect/testing"
import { withLines, withLiveRegion } from "../../../src/programs/terminal/LiveRegion.ts"
import { say, tell } from "../../../src/programs/terminal/Say.ts"
import * as Screen from "../../../src/programs/terminal/Screen.ts"

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
  const columns = yield* Ref.make(20)
  const layer = (isTerminal: boolean, env: Record<string, string> = { TERM: "xterm" }) =>
    Layer.mergeAll(
      Stdio.layerTest({ stderr: () => sink, stderrIsTerminal: Effect.succeed(isTerminal) }),
      ConfigProvider.layer(ConfigProvider.fromUnknown(env)),
      Layer.succeed(Screen.CurrentScreen, new Screen.Screen()),
      Layer.succeed(
        Terminal.Terminal,
        Terminal.make({
          columns: Ref.get(columns),
          rows: Effect.succeed(10),
          size: Effect.never,
          readInput: Effect.never,
          readLine: Effect.never,
          display: () => Effect.void
        })
      )
    )
  return { columns, written, layer, screen: Effect.map(Ref.get(written), screenOf) }
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

  it.effect("puts the log above, and whatever else is said on standard error", () =>
    Effect.gen(function*() {
      const { layer, screen } = yield* makeScreen
      const others: Array<string> = []
      const plain = Object.assign(Object.create(globalThis.console), {
        error: (text: string) => void others.push(text)
      })
      yield* Effect.gen(function*() {
        const console = Screen.console(yield* Screen.CurrentScreen, plain)
        yield* Effect.gen(function*() {
          yield* withLiveRegion(
            Effect.andThen(Effect.logWarning("slow"), Console.error("two\nlines %d", 7)),
            Effect.succeed(["at work"])
          )
          yield* Console.error("after it")
        }).pipe(
          Effect.provideService(Console.Console, console),
          Effect.provide([
            Logger.layer([Logger.formatSimple.pipe(Logger.map(() => "WARN: slow"), Logger.withConsoleError)])
          ])
        )
      }).pipe(Effect.provide(layer(true)))
      assert.deepStrictEqual(yield* screen, ["WARN: slow", "two", "lines 7", "at work"])
      assert.deepStrictEqual(others, ["after it"])
    }))

  it.effect("takes the lines of a terminal that was made narrower back whole", () =>
    Effect.gen(function*() {
      const { columns, layer, written } = yield* makeScreen
      const end = yield* Deferred.make<void>()
      const fiber = yield* withLiveRegion(Deferred.await(end), Effect.succeed(["x".repeat(18)])).pipe(
        Effect.provide(layer(true)),
        Effect.forkChild({ startImmediately: true })
      )
      yield* TestClock.adjust(0)
      yield* Ref.set(columns, 10)
      yield* Ref.set(written, "")
      yield* TestClock.adjust(100)
      assert.isTrue((yield* Ref.get(written)).startsWith(`${escape}[2A`), "two rows by now")
      yield* Deferred.succeed(end, undefined)
      yield* Fiber.join(fiber)
    }))

  it.effect("is no terminal that is dumb, or where nobody looks", () =>
    Effect.gen(function*() {
      const { layer, written } = yield* makeScreen
      for (const env of [{ TERM: "dumb" }, { TERM: "xterm", CI: "true" }]) {
        yield* Effect.provide(withLiveRegion(say(["said"]), Effect.succeed(["done"])), layer(true, env))
        assert.strictEqual(yield* Ref.getAndSet(written, ""), "said\ndone\n")
      }
      yield* Effect.provide(withLiveRegion(Effect.void, Effect.succeed(["done"])), layer(true, { CI: "false" }))
      assert.include(yield* Ref.get(written), escape)
    }))

  it.effect("tells sentences without breaking words, on a terminal", () =>
    Effect.gen(function*() {
      const { layer, written } = yield* makeScreen
      const sentence = "nothing leaves this machine"
      yield* Effect.provide(tell([sentence]), layer(true))
      assert.strictEqual(yield* Ref.getAndSet(written, ""), "nothing leaves this\n  machine\n")
      yield* Effect.provide(tell([sentence]), layer(false))
      assert.strictEqual(yield* Ref.get(written), `${sentence}\n`)
    }))

  it.effect("says a line every half minute where there is no picture", () =>
    Effect.gen(function*() {
      const { layer, written } = yield* makeScreen
      let lines = 0
      const fiber = yield* withLines(Effect.delay(Effect.void, "95 seconds"), Effect.sync(() => `line ${++lines}`))
        .pipe(
          Effect.provide(layer(false)),
          Effect.forkChild({ startImmediately: true })
        )
      yield* TestClock.adjust("29 seconds")
      assert.strictEqual(yield* Ref.get(written), "")
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* Ref.get(written), "line 1\n")
      yield* TestClock.adjust("10 minutes")
      yield* Fiber.join(fiber)
      assert.strictEqual(yield* Ref.get(written), "line 1\nline 2\nline 3\n")
    }))

  it.effect("breaks a line between its figures", () =>
    Effect.gen(function*() {
      const { layer, screen } = yield* makeScreen
      yield* Effect.provide(withLiveRegion(Effect.void, Effect.succeed(["12 URLs/s · 7 in flight"])), layer(true))
      assert.deepStrictEqual(yield* screen, ["12 URLs/s", "  7 in flight"])
    }))

  it.effect("cuts a word at the edge", () =>
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
