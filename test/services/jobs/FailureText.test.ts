import { assert, describe, it } from "@effect/vitest"
import { Cause, Data, Redactable, Redacted, Schema } from "effect"
import * as Headers from "effect/http/Headers"
import { ConstraintError, SqlError } from "effect/sql/SqlError"
import * as FailureText from "../../../src/services/jobs/FailureText.ts"

class HttpError extends Schema.TaggedError<HttpError>()("HttpError", { status: Schema.Int, body: Schema.String }) {}
class DataError extends Data.TaggedError("DataError")<{ readonly tries: number; readonly cause?: unknown }> {}
class Login extends Schema.TaggedError<Login>()("Login", {
  user: Schema.String,
  key: Schema.Redacted(Schema.String),
  headers: Schema.Unknown
}) {}

const of = (error: unknown) => FailureText.ofCause("Failed", Cause.fail(error))
const round: { self?: unknown } = {}
round.self = round
const nested = { a: { b: { c: { d: { e: 1 } } } } }

const lines: Record<string, readonly [error: unknown, line: string]> = {
  "an error of Effect without a text": [
    new HttpError({ status: 500, body: "boom" }),
    `HttpError {"status":500,"body":"boom"}`
  ],
  "an error with a text and fields": [
    Object.assign(new TypeError("no"), { code: "E1" }),
    `TypeError: no {"code":"E1"}`
  ],
  "an error with a text": [new Error("no"), "Error: no"],
  "an error of Data": [new DataError({ tries: 2 }), `DataError {"tries":2}`],
  "a text": ["no", "no"],
  "an object": [{ why: "no", n: 1n }, `{"why":"no","n":"1"}`],
  "a tagged object": [{ _tag: "Declined", limit: 5 }, `{"_tag":"Declined","limit":5}`],
  "undefined": [undefined, "undefined"],
  "a number": [7, "7"],
  "what goes round": [round, ""],
  "what lies too deep": [nested, `{"a":{"b":{"c":"{…}"}}}`],
  "bytes, dates, maps and functions": [
    { bytes: new Uint8Array(5), at: new Date(0), map: new Map([[1, 2]]), run: () => 1 },
    `{"bytes":"Uint8Array of 5 bytes","at":"1970-01-01T00:00:00.000Z","map":"Map of 1"}`
  ],
  "a getter that throws": [
    Object.defineProperty({ b: 1 }, "a", {
      enumerable: true,
      get: () => {
        throw new Error("mine")
      }
    }),
    `{"b":1}`
  ],
  "a long list": [{ list: Array.from({ length: 30 }, (_, n) => n) }, `{"list":[0,1,2,3,4,5,6,7,8,9,"20 more"]}`],
  "an error in a field": [
    { inner: new HttpError({ status: 1, body: "" }) },
    `{"inner":"HttpError {\\"status\\":1,\\"body\\":\\"\\"}"}`
  ]
}

describe("what a failure says", () => {
  for (const [name, [error, line]] of Object.entries(lines)) {
    it(name, () => {
      const { message } = of(error)
      if (line === "") assert.isBelow(message.length, 100)
      else assert.strictEqual(message, line)
    })
  }

  it("secrets are not said: redacted values, and fields that are named like one", () => {
    const secrets = new Login({
      user: "ada",
      key: Redacted.make("hunter1"),
      headers: Headers.fromInput({ authorization: "Bearer hunter2", accept: "*/*" })
    })
    const veiled = { secret: 1, text: "hunter0", [Redactable.symbolRedactable]: () => "veiled" }
    assert.deepStrictEqual(of({ inner: veiled }).message, `{"inner":"veiled"}`)
    const foreign = Object.assign(new Error("login failed"), {
      cause: secrets,
      config: {
        headers: { Authorization: "hunter3", Cookie: "hunter4" },
        apiKey: "hunter5",
        db_password: { a: "hunter6" }
      },
      tokens: 12
    })
    for (const error of [secrets, foreign, { access_token: "hunter7", of: [secrets] }, Redacted.make("hunter8")]) {
      assert.notInclude(JSON.stringify(of(error)), "hunter")
    }
    assert.include(of(secrets).message, `"user":"ada"`)
    assert.include(of(secrets).message, `"accept":"*/*"`)
    assert.include(of(foreign).message, `"tokens":12`)
  })

  it("the chain of causes is told, with first frames, and ends when it goes round", () => {
    const root = new HttpError({ status: 502, body: "bad gateway" })
    const outer = new DataError({ tries: 3, cause: new Error("between", { cause: root }) })
    const { message, trace = "" } = of(outer)
    assert.strictEqual(message, `DataError {"tries":3}`)
    const told = trace.split("\n").filter((line) => line.startsWith("caused by"))
    assert.deepStrictEqual(told, [
      "caused by: Error: between",
      `caused by: HttpError {"status":502,"body":"bad gateway"}`
    ])
    assert.include(trace.split("\n")[0], "FailureText.test.ts")
    const self = new Error("round")
    self.cause = self
    assert.notInclude(of(self).trace ?? "", "caused by")
    const sql = new SqlError({
      reason: new ConstraintError({ cause: Object.assign(new Error("dup"), { code: "23505" }) })
    })
    assert.include(of(sql).message + of(sql).trace, `dup`)
    const many = of(new AggregateError([new Error("v4 refused"), new Error("v6 refused")]))
    assert.include(many.trace ?? "", "caused by: Error: v4 refused")
    assert.include(many.trace ?? "", "caused by: Error: v6 refused")
  })

  it("what failed beside it is told, and a failure goes before a defect", () => {
    const cause = Cause.combine(
      Cause.die(new Error("a defect")),
      Cause.combine(Cause.fail("first"), Cause.fail("second"))
    )
    const failure = FailureText.ofCause("Failed", cause)
    assert.strictEqual(failure.message, "first")
    assert.include(failure.trace ?? "", "and: second")
    assert.include(failure.trace ?? "", "and: Error: a defect")
  })

  it("nothing is longer than it may be, however large the error", () => {
    const wide = Object.fromEntries(Array.from({ length: 500 }, (_, n) => [`field${n}`, "x".repeat(10_000)]))
    const frames = (level: number): Error =>
      Object.assign(new Error("m".repeat(9_000), level === 0 ? {} : { cause: frames(level - 1) }), { wide, level })
    for (const error of [wide, frames(50), { deep: wide }, "y".repeat(1e6), "😀\u0000".repeat(5_000)]) {
      const { message, trace = "" } = of(error)
      assert.isAtMost(message.length, 4_000)
      assert.isAtMost(trace.length, 2_000)
      assert.isTrue(message.isWellFormed() && trace.isWellFormed() && !message.includes("\u0000"))
    }
    const chain = (level: number): Error =>
      Object.assign(new Error(`e${level}`, level === 0 ? {} : { cause: chain(level - 1) }), { stack: "" })
    const told = ["e8", "e7", "e6", "e5"].map((name) => `caused by: Error: ${name}`)
    assert.deepStrictEqual((of(chain(9)).trace ?? "").split("\n"), told)
  })
})
