/** What is said once about a problem is what its class, its page, its answers and the document say. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import * as HttpServerRespondable from "effect/http/HttpServerRespondable"
import * as Addresses from "../../../src/layers/http/Addresses.ts"
import * as ProblemOf from "../../../src/layers/http/ProblemOf.ts"
import { FetchKeysError } from "../../../src/services/http/FetchKeys.ts"
import { at, entries, list, text } from "../../../src/services/http/JsonTree.ts"
import * as Problem from "../../../src/services/http/Problem.ts"
import { JobQueueError } from "../../../src/services/jobs/JobError.ts"
import { OrdersStoreError } from "../../../src/services/orders/OrdersError.ts"

/** One of each, with what its fields need. */
const problems = [
  new Problem.InvalidRequest(),
  new Problem.IdempotencyKeyMissing(),
  new Problem.Unauthorized(),
  new Problem.Forbidden(),
  new Problem.NotFound(),
  new Problem.MethodNotAllowed(),
  new Problem.OrderNotFound(),
  new Problem.AccountNotFound(),
  new Problem.AccountDiffers(),
  new Problem.ProductNotFound(),
  new Problem.ProductRefused({ reason: "UnknownSeller" }),
  new Problem.StockRefused({ onHand: 1 }),
  new Problem.TransferNotFound(),
  new Problem.JobNotFound(),
  new Problem.FetchNotFound(),
  new Problem.IdempotencyKeyInFlight(),
  new Problem.IdempotencyKeyReused(),
  new Problem.OrderStateConflict({ orderStatus: "paid" }),
  new Problem.VersionMismatch(),
  new Problem.OrderRefused({ reason: "UnknownSku" }),
  new Problem.TransferRefused({ reason: "Expired" }),
  new Problem.PayloadTooLarge(),
  new Problem.UnsupportedMediaType(),
  new Problem.UpgradeRefused(),
  new Problem.TooManyConnections(),
  new Problem.Internal(),
  new Problem.Unavailable(),
  new Problem.DeadlineExceeded()
]

it("each class has a page of its own, and there is no page without a class", () => {
  const classes = Object.values(Problem).filter((value) =>
    typeof value === "function" && HttpServerRespondable.isRespondable(value.prototype)
  )
  assert.strictEqual(classes.length, problems.length)
  assert.deepStrictEqual(
    problems.map(({ status, title, type }) => `${status} ${type} ${title}`).sort(),
    Problem.docs.map(({ status, title, type }) => `${status} ${type} ${title}`).sort()
  )
})

it.effect("an answer is the problem's document, with the headers that were declared and no others", () =>
  Effect.gen(function*() {
    for (const problem of problems) {
      const answer = yield* ProblemOf.answer(problem)
      assert.strictEqual(answer.status, problem.status)
      const { "content-length": _, "content-type": type, ...headers } = answer.headers
      assert.strictEqual(type, "application/problem+json")
      assert.deepStrictEqual<unknown>(headers, { ...Problem.headersOf(problem) }, problem.type)
    }
    const retried = problems.filter((problem) => "retry-after" in Problem.headersOf(problem))
    assert.deepStrictEqual(new Set(retried.map(({ status }) => status)), new Set([409, 429, 503]))
  }))

it("a failure is told alike whichever store it is of", () => {
  const statuses = { Unavailable: 503, Conflict: 503, TimedOut: 504, Rejected: 500 } as const
  for (const reason of ["Unavailable", "Conflict", "TimedOut", "Rejected"] as const) {
    const errors = [
      new OrdersStoreError({ operation: "o", reason, cause: "secret" }),
      new JobQueueError({ operation: "o", reason, detail: "secret" }),
      new FetchKeysError({ operation: "o", reason, cause: "secret" })
    ]
    for (const error of errors) {
      const problem = ProblemOf.problemOf(error)
      assert.deepStrictEqual([problem.status, problem.detail], [statuses[reason], undefined], `${error._tag} ${reason}`)
    }
  }
})

const components = at(Addresses.document, "components", "schemas")

/** The problems of a response in the document. */
const typesOf = (response: unknown): ReadonlyArray<string> => {
  const schema = at(response, "content", "application/problem+json", "schema")
  return [schema, ...list(at(schema, "anyOf"))].flatMap((inner) => {
    const name = text(at(inner, "$ref")).replace(/^.*\//, "")
    const type = text(list(at(components, name, "properties", "type", "enum"))[0])
    return type === "" ? [] : [type]
  })
}

it("the document tells the headers that problems bring", () => {
  const seen = new Set<string>()
  for (const [path, item] of entries(Addresses.document.paths)) {
    for (const [verb, operation] of entries(item)) {
      for (const [status, response] of entries(at(operation, "responses"))) {
        const types = typesOf(response)
        if (types.length === 0) continue
        const brought = types.flatMap((type) => Object.keys(Problem.headersOf({ type })))
        for (const header of brought) seen.add(`${status} ${header}`)
        const told = entries(at(response, "headers")).map(([name]) => name)
        assert.deepStrictEqual(told, [...new Set(brought)], `${verb} ${path} ${status}`)
      }
    }
  }
  assert.deepStrictEqual([...seen].sort(), [
    "401 www-authenticate",
    "409 retry-after",
    "426 sec-websocket-version",
    "429 retry-after",
    "503 retry-after"
  ])
})

it("the document says each schema once", () => {
  const names = new Map<string, string>()
  for (const [name, schema] of entries(components)) {
    const same = names.get(JSON.stringify(schema))
    assert.isUndefined(same, `${name} is ${same}`)
    names.set(JSON.stringify(schema), name)
  }
  assert.isAbove(names.size, 30)
})

it("every route of the document asks for the token", () => {
  for (const [path, item] of entries(Addresses.document.paths)) {
    for (const [verb, operation] of entries(item)) {
      assert.deepStrictEqual(at(operation, "security"), [{ bearer: [] }], `${verb} ${path}`)
    }
  }
  assert.strictEqual(at(Addresses.document, "components", "securitySchemes", "bearer", "type"), "http")
})
