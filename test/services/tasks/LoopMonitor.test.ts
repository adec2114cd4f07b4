import { assert, it } from "vitest"
import { LoopBlocked } from "../../../src/services/tasks/LoopMonitor.ts"

it("a block whose place is not certain says so, and does not show an empty stack", () => {
  const event = { blockedMillis: 123.4, atMillis: 0 }
  assert.strictEqual(
    String(new LoopBlocked({ ...event, stack: [] })),
    "event loop blocked for 123 ms, in a native call or unknown"
  )
  assert.strictEqual(
    String(new LoopBlocked({ ...event, stack: ["parse (file:///a.ts:1:2)", "main (file:///a.ts:3:4)"] })),
    "event loop blocked for 123 ms\n    at parse (file:///a.ts:1:2)\n    at main (file:///a.ts:3:4)"
  )
})
