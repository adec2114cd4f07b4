/**
 * Tests wait for receipts or move a clock of their own: real time passes in a test only where it stands here, with the reason. What
 * nobody tells is looked for by `eventually`. The simulations have a clock of their own, and their own test of it.
 */
import { assert, describe, it } from "@effect/vitest"
import { globSync, readFileSync } from "node:fs"
import { join, resolve } from "node:path"

const root = resolve(import.meta.dirname, "../..")

/** Ways to let real time pass. Those of Effect are virtual under a test clock. */
const ways: ReadonlyArray<readonly [name: string, pattern: RegExp, isVirtual: boolean]> = [
  ["sleep", /\bEffect\.(?:sleep|delay)\(/g, true],
  ["poll", /\bSchedule\.(?:spaced|fixed)\(/g, true],
  ["timeout", /\bEffect\.timeout(?:Option|OrElse)?\(/g, true],
  ["timer", /\bset(?:Timeout|Interval)\(/g, false],
  ["timer", /from "node:timers(?:\/promises)?"/g, false],
  [
    "bound",
    /\bassert\.is(?:Below|AtMost)\([^,]*(?:[mM]illis\b|\btook|elapsed|waited|currentTimeMillis|performance\.now)/g,
    true
  ]
]

/** Whether a text has no clock but the real one: a helper or a suite may be used by a test that has none. */
const isReal = (file: string, text: string): boolean =>
  !file.endsWith(".test.ts") || /\bit\.live\b|\bexcludeTestServices\b|\bwithLive\b/.test(text)

/** How often a file lets real time pass, and how; undefined when it does not. */
const waitsOf = (file: string, text: string): Readonly<Record<string, number>> | undefined => {
  const code = text.replaceAll(/^\s*(?:\/\/|\/?\*).*$/gm, "")
  const waits: Record<string, number> = {}
  for (const [name, pattern, isVirtual] of ways) {
    const count = isVirtual && !isReal(file, code) ? 0 : (code.match(pattern)?.length ?? 0)
    if (count > 0) waits[name] = (waits[name] ?? 0) + count
  }
  return Object.keys(waits).length === 0 ? undefined : waits
}

interface Allowed extends Readonly<Partial<Record<string, number | string>>> {
  readonly because: string
}

const killed =
  "kills or freezes real processes for as long as their leases and patience take, or between moments of its own choosing"
const slow = "a real server on the network that is slow"
const never = "a timer that the test is about: nobody waits for it"
const child = "a real process that a test kills: as long as what it does is to take"
const virtual = "handlers of a suite whose clock is the test's own"

/** None but these, and each of these as often as it says. */
const allowed: Readonly<Record<string, Allowed>> = {
  // What real time passes for.
  "test/layers/jobs/Bank.test.ts": { poll: 1, because: killed },
  "test/layers/jobs/Chaos.test.ts": { sleep: 4, poll: 1, because: killed },
  "test/programs/fetch/Chaos.test.ts": { sleep: 1, timer: 1, because: killed },
  "test/programs/fetch/GoOn.test.ts": { timer: 1, because: slow },
  "test/programs/work/OrdersExactlyOnce.test.ts": { sleep: 4, poll: 3, because: killed },
  "test/support/jobWorker.ts": { sleep: 2, poll: 1, because: child },
  "test/support/jobKinds.ts": { poll: 1, because: child },
  "test/support/databaseUser.ts": { sleep: 1, poll: 1, because: child },
  "test/support/endlessLoop.ts": { sleep: 1, because: child },
  "test/support/offloadJobs.ts": { timer: 1, because: "throws from a timer in a thread of its own" },
  "test/layers/fetch/fetchPace.test.ts": { timer: 1, bound: 4, because: `${slow}; its bounds are of virtual time` },
  "test/layers/fetch/reuse.test.ts": { timer: 2, because: `${slow} to close its connections` },
  "test/layers/fetch/zooBody.test.ts": { timer: 1, because: slow },
  "test/layers/fetch/zooHead.test.ts": { timer: 1, because: slow },
  "test/layers/fetch/zooManners.test.ts": { timer: 2, because: slow },
  "test/programs/fetch/Command.test.ts": { timer: 1, because: slow },
  "test/programs/fetch/Environment.test.ts": { timer: 1, because: slow },
  "test/support/fetch/DnsServer.ts": { timer: 1, because: slow },
  "test/support/zoo/Zoo.ts": { timer: 1, because: slow },
  "test/layers/http/Hanging.test.ts": {
    timeout: 1,
    bound: 1,
    because: "that an answer comes by its deadline is the promise; only a hang breaks the bound"
  },
  "test/layers/http/WorkerReadiness.test.ts": { sleep: 1, because: "nothing tells that nothing will happen" },
  "test/conformance/Frontier.suite.ts": {
    timeout: 1,
    because: "one of the two stores answers, the other never does: nothing tells which"
  },
  "test/layers/orders/PostgresContention.test.ts": { sleep: 1, because: "the server's statistics come a second late" },
  "test/layers/orders/PostgresListing.test.ts": {
    sleep: 1,
    because: "clocks that differ are told apart by what passes between two orders"
  },
  "test/layers/orders/PostgresOrdersShared.test.ts": {
    timeout: 1,
    because: "callers leave at moments of their own choosing"
  },
  "test/layers/tasks/NodeLoopMonitor.test.ts": {
    sleep: 1,
    because: "the watchdog of the real loop reads a stack once in a second"
  },
  "test/programs/process/Main.test.ts": { sleep: 1, because: "a reader that begins late" },
  // What comes back to `eventually` and its like.
  "test/support/eventually.ts": { timer: 1, because: "the one poll" },
  "test/support/leakCheck.ts": {
    timer: 1,
    because: "vitest's hook, outside of Effect; what Node closes is counted until it is back"
  },
  "test/conformance/JobQueue.suite.ts": {
    poll: 2,
    because: "timetables of a database's clock; nothing else tells that they have not fired"
  },
  // What is nobody's wait.
  "test/services/tasks/Subprocess.test.ts": { timer: 4, because: child },
  "test/layers/jobs/worker/Worker.slots.test.ts": { poll: 1, because: never },
  "test/layers/tasks/NodeLeaks.test.ts": { timer: 1, because: never },
  "test/conformance/tasks/timeAndLeaks.test.ts": {
    sleep: 8,
    poll: 1,
    timer: 4,
    because: `${never}; its sleeps are virtual`
  },
  "test/layers/jobs/worker/Worker.foreign.test.ts": {
    sleep: 2,
    poll: 2,
    because: "a handler that suspends at all, of a millisecond, and retries in an hour"
  },
  "test/services/tasks/TaskGroup.test.ts": { bound: 1, because: "two clocks of one process are compared" },
  "test/support/fetch/ScriptedClient.ts": { sleep: 2, because: virtual }
}

const files = globSync("test/**/*.{ts,mjs}", { cwd: root }).map((file) => file.replaceAll("\\", "/"))
  .filter((file) => !file.startsWith("test/simulation/") && file !== "test/house/sleeps.test.ts").toSorted()

describe("real time in tests", () => {
  it("passes where a reason stands for it, and nowhere else", () => {
    const found = files.flatMap((file) => {
      const waits = waitsOf(file, readFileSync(join(root, file), "utf8"))
      return waits === undefined ? [] : [[file, waits] as const]
    })
    const listed = Object.entries(allowed).map(([file, entry]) =>
      [file, Object.fromEntries(Object.entries(entry).filter(([name]) => name !== "because"))] as const
    )
    assert.deepStrictEqual(Object.fromEntries(found), Object.fromEntries(listed))
  })

  it("is seen by this test", () => {
    const wait = "yield* Effect.sleep(\"1 second\")"
    assert.deepStrictEqual(waitsOf("test/a.test.ts", `it.live("a", () => ${wait})`), { sleep: 1 })
    assert.isUndefined(waitsOf("test/a.test.ts", `it.effect("a", () => ${wait})`))
    assert.isUndefined(waitsOf("test/a.test.ts", `it.live("a")\n  // ${wait}`))
    assert.deepStrictEqual(waitsOf("test/support/a.ts", `${wait}\nEffect.delay(one, 5)`), { sleep: 2 })
    assert.deepStrictEqual(waitsOf("test/a.test.ts", "it.effect(); setTimeout(go, 5); setInterval(go, 5)"), {
      timer: 2
    })
    assert.deepStrictEqual(
      waitsOf(
        "test/a.test.ts",
        "layer(x, { excludeTestServices: true }); Effect.retry(Schedule.spaced(5)); Effect.timeout(5)"
      ),
      { poll: 1, timeout: 1 }
    )
    assert.deepStrictEqual(waitsOf("test/a.test.ts", "it.live(); assert.isBelow(tookMillis, 1500)"), { bound: 1 })
  })
})
