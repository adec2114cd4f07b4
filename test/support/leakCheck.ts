/**
 * Runs around every test file (vitest's `setupFiles`): what Node keeps open must be back at its count when the file's tests
 * and layers are through. A test that wants to know which of its effects leaks uses `leakFree`.
 */
import { Effect } from "effect"
import { afterAll, beforeAll } from "vitest"
import * as NodeLeaks from "../../src/layers/tasks/NodeLeaks.ts"

const settleMillis = 5000
const kinds = ["sockets", "servers", "processes", "files"] as const

const count = (): Record<string, number> => ({ ...Effect.runSync(NodeLeaks.count) })

let before: Record<string, number> = {}

beforeAll(() => {
  before = count()
})

afterAll(async () => {
  const end = performance.now() + settleMillis
  const leaks = () => {
    const now = count()
    return kinds.filter((kind) => (now[kind] ?? 0) > (before[kind] ?? 0)).map((kind) =>
      `${kind}: ${before[kind] ?? 0} -> ${now[kind]}`
    )
  }
  while (leaks().length > 0 && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 20))
  if (leaks().length > 0) throw new Error(`this file leaked ${leaks().join(", ")}`)
})
