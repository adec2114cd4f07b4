import { assert, describe, it } from "@effect/vitest"
import { Cause, Schema } from "effect"
import { ConnectionError, ConstraintError, SerializationError, SqlError } from "effect/sql/SqlError"
import { JobQueueError } from "../../../src/services/jobs/JobError.ts"
import * as JobVerdict from "../../../src/services/jobs/JobVerdict.ts"

class StoreError extends Schema.TaggedError<StoreError>()("StoreError", { cause: Schema.Defect() }) {}

const serialization = new SqlError({ reason: new SerializationError({ cause: new Error("again") }) })
const connection = new SqlError({ reason: new ConnectionError({ cause: new Error("gone") }) })
const constraint = new SqlError({ reason: new ConstraintError({ cause: new Error("check") }) })

describe("how a failed transaction is taken", () => {
  const cases: ReadonlyArray<readonly [string, Cause.Cause<unknown>, JobVerdict.Trouble]> = [
    ["a serialization failure", Cause.fail(serialization), "conflict"],
    ["a broken connection beside its broken rollback", Cause.die(connection), "unavailable"],
    ["a constraint", Cause.fail(constraint), "own"],
    [
      "the queue's own error",
      Cause.fail(new JobQueueError({ operation: "settle", reason: "Conflict", detail: "" })),
      "conflict"
    ],
    ["a conflict in a handler's own error", Cause.fail(new StoreError({ cause: serialization })), "conflict"],
    ["an outage in a handler's own error", Cause.fail(new StoreError({ cause: connection })), "unavailable"],
    ["a handler's own error for no reason", Cause.fail(new StoreError({ cause: "nothing" })), "own"]
  ]
  for (const [name, cause, trouble] of cases) {
    it(name, () => assert.strictEqual(JobVerdict.troubleOf(cause), trouble))
  }

  it("an error that is its own cause ends", () => {
    const error = new Error("round")
    error.cause = error
    assert.strictEqual(JobVerdict.troubleOf(Cause.fail(error)), "own")
  })
})
