/**
 * What in `src` does not run on virtual time: timers, clocks and chance that do not come from Effect. Each has a reason; one that is new
 * has none yet, and one that is gone is taken off the list.
 */
import { assert, it } from "@effect/vitest"
import { globSync, readFileSync } from "node:fs"
import { basename } from "node:path"

const ownProcess = "runs as a process of its own, outside of every world"
const ownThread =
  "runs in a thread of its own, to watch a loop that stands still: its clock must not stand still with it"
const socket = "the socket's own: the simulation has an HttpClient instead of sockets"
const database = "starts and stops a database, which is a real process"

/** By file, wherever it is. */
const reasons: Readonly<Record<string, { readonly of: ReadonlyArray<string>; readonly because: string }>> = {
  "Main.ts": { of: ["setTimeout"], because: "ends the process when nothing else does" },
  "TaskNode.ts": {
    of: ["Clock.defaultValue"],
    because: "the root is made before there is a fiber to ask; it tells people since when it is there"
  },
  "loopWatchdog.ts": { of: ["node:timers", "setTimeout"], because: ownThread },
  "StackReader.ts": { of: ["node:timers", "setTimeout"], because: ownThread },
  "Orphan.ts": { of: ["node:timers"], because: database },
  "supervisorProcess.ts": { of: ["node:timers", "performance.now", "setTimeout"], because: ownProcess },
  "Postmaster.ts": { of: ["node:timers", "setTimeout"], because: database },
  "Client.ts": { of: ["setTimeout"], because: `${socket}; it is the supervisor's` },
  "Exchange.ts": { of: ["setImmediate"], because: socket },
  "HttpListener.ts": { of: ["setImmediate"], because: socket },
  "Logging.ts": { of: ["new Date()"], because: "the last words of the process, when no layer is there any more" },
  "Connection.ts": { of: ["setTimeout"], because: socket }
}

const sources: ReadonlyArray<readonly [name: string, pattern: RegExp]> = [
  ["Date.now", /\bDate\.now\b/],
  ["new Date()", /\bnew Date\(\)/],
  ["Clock.defaultValue", /\bClock\.Clock\.defaultValue\b/],
  ["performance.now", /\bperformance\.now\b/],
  ["process.hrtime", /\bprocess\.hrtime\b/],
  ["Math.random", /\bMath\.random\b/],
  ["crypto's chance", /\b(randomBytes|randomUUID|randomInt|randomFill|getRandomValues)\b/],
  ["node:timers", /"node:timers(\/promises)?"/],
  ["setTimeout", /(?<!import \{ )\bsetTimeout\(/],
  ["setInterval", /\bsetInterval\(/],
  ["setImmediate", /\bsetImmediate\(/],
  ["queueMicrotask", /\bqueueMicrotask\(/],
  ["process.nextTick", /\bnextTick\(/]
]

const isComment = (line: string): boolean => /^\s*(\/\/|\/?\*)/.test(line)

/** `nextTick` is also what cron calls its next minute. */
const isOurs = (line: string): boolean => /JobCron\.nextTick|const nextTick/.test(line)

const used = (file: string): ReadonlyArray<string> => {
  const lines = readFileSync(file, "utf8").split("\n").filter((line) => !isComment(line) && !isOurs(line))
  return sources.flatMap(([name, pattern]) => lines.some((line) => pattern.test(line)) ? [name] : [])
}

it("every timer, clock and chance outside of Effect is known, with its reason", () => {
  const found = globSync("src/**/*.ts").flatMap((file) => {
    const names = used(file)
    return names.length === 0 ? [] : [[basename(file), names.toSorted()] as const]
  })
  const known = Object.entries(reasons).map(([file, { of }]) => [file, of.toSorted()] as const)
  const byName = (a: readonly [string, unknown], b: readonly [string, unknown]) => a[0] < b[0] ? -1 : 1
  assert.deepStrictEqual(found.toSorted(byName), known.toSorted(byName))
})

it("finds one that is new", () => {
  const catches = (line: string) => sources.some(([, pattern]) => pattern.test(line))
  const lines = [
    "const at = Date.now()",
    "setInterval(tick, 5)",
    "const id = randomUUID()",
    "new Date()",
    "Math.random()"
  ]
  for (const line of lines) assert.isTrue(catches(line), line)
  assert.isFalse(catches("new Date(millis)"))
})
