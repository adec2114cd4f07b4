/** A line of the log as JSON: one line whatever is in it, with what collectors look for by name. */
import { assert, it } from "@effect/vitest"
import { Cause, Effect, Logger, Redacted, Schema } from "effect"
import * as LogLine from "../../../src/programs/process/LogLine.ts"

class Refused extends Schema.TaggedError<Refused>()("Refused", { status: Schema.Int, cause: Schema.Defect() }) {
  override get message(): string {
    return `refused with ${this.status}`
  }
}

/** The lines that a program logs. */
const linesOf = (program: Effect.Effect<void>): Effect.Effect<ReadonlyArray<string>> =>
  Effect.suspend(() => {
    const lines: Array<string> = []
    const logger = Logger.map(LogLine.json, (line) => void lines.push(line))
    return Effect.as(Effect.provide(program, Logger.layer([logger])), lines)
  })

it.effect("has date, level, message, what it is about, and an error by its fields", () =>
  Effect.gen(function*() {
    const inner = Object.assign(new Error("no\nroute"), { code: "EHOSTUNREACH" })
    const [line = ""] = yield* linesOf(
      Effect.logError("charging failed", Cause.fail(new Refused({ status: 502, cause: inner }))).pipe(
        Effect.annotateLogs({ requestId: "r-1", jobId: 7n, kind: "orders.charge", attempt: 2 })
      )
    )
    const { date, error, ...rest } = JSON.parse(line)
    assert.match(date, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    assert.deepStrictEqual(rest, {
      level: "error",
      message: "charging failed",
      requestId: "r-1",
      jobId: "7",
      kind: "orders.charge",
      attempt: 2
    })
    assert.match(error.stack[0], /^at /)
    assert.deepStrictEqual({ ...error, stack: [] }, {
      name: "Refused",
      message: "refused with 502",
      status: 502,
      stack: [],
      cause: { name: "Error", message: "no\nroute", code: "EHOSTUNREACH" }
    })
    assert.notInclude(line, "\n")
  }))

it.effect("is bounded, and written whatever is in it", () =>
  Effect.gen(function*() {
    let deep = new Error("the first")
    for (let depth = 0; depth < 100; depth++) deep = new Error(`cause ${depth}`, { cause: deep })
    const circle: Record<string, unknown> = { secret: Redacted.make("hunter2") }
    circle["self"] = circle
    const hostile = new Error("hostile")
    Object.defineProperty(hostile, "message", {
      get: () => {
        throw new Error("no message for you")
      }
    })
    const lines = yield* linesOf(Effect.gen(function*() {
      yield* Effect.logWarning("deep", deep)
      yield* Effect.logWarning("long", "x".repeat(1_000_000))
      yield* Effect.logWarning("odd", circle, 12n, undefined)
      yield* Effect.logWarning(hostile)
      yield* Effect.logWarning("stopped", Cause.interrupt(1))
    }))
    assert.strictEqual(lines.length, 5)
    for (const line of lines) {
      assert.isAtMost(line.length, 20_000)
      assert.strictEqual(typeof JSON.parse(line).message, "string")
      assert.notInclude(line, "hunter2")
    }
    assert.strictEqual(lines[0]?.split("\"cause\":").length, 6)
    assert.strictEqual(JSON.parse(lines[4] ?? "").error.name, "Interrupted")
  }))
