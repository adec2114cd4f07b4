/** A soak as it is run: processes that play seeds, added up, until the time is over or somebody says so. */
import { assert, describe, it } from "@effect/vitest"
import { spawn } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

const simulate = (args: ReadonlyArray<string>, onLine: (line: string, pid: number) => void = () => {}) =>
  new Promise<{ readonly code: number | null; readonly lines: ReadonlyArray<string> }>((resolve) => {
    const child = spawn(process.execPath, [
      fileURLToPath(new URL("simulate.ts", import.meta.url)),
      "--level",
      "memory",
      "--scene",
      "jobs",
      "--seconds",
      "20",
      "--jobs",
      "2",
      ...args
    ])
    const lines: Array<string> = []
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => {
        lines.push(line)
        onLine(line, child.pid ?? 0)
      })
    }
    child.on("close", (code) => resolve({ code, lines }))
  })

describe("a soak", () => {
  it("adds up what its processes played, in JSON for machines", async () => {
    const { code, lines } = await simulate(["--hours", "0.001", "--json"])
    assert.strictEqual(code, 0, lines.join("\n"))
    const summary = JSON.parse(lines.at(-1) ?? "")
    assert.strictEqual(summary.type, "summary")
    assert.isAtLeast(summary.runs, 2)
    assert.strictEqual(summary.wrong, 0)
  }, 120_000)

  it("keeps what went wrong, with seed and story, and says so by its exit code", async () => {
    const folder = mkdtempSync(join(tmpdir(), "sluice-soak-"))
    const failures = join(folder, "failures.jsonl")
    const { code, lines } = await simulate([
      "--hours",
      "0.001",
      "--mutant",
      "what is enqueued is there twice",
      "--failures",
      failures
    ])
    assert.strictEqual(code, 1, lines.join("\n"))
    assert.isTrue(existsSync(failures))
    const [first] = readFileSync(failures, "utf8").trim().split("\n").map((line) => JSON.parse(line))
    assert.isNotEmpty(first.wrong)
    assert.isNotEmpty(first.story)
    assert.isNumber(first.seed)
    rmSync(folder, { recursive: true })
  }, 120_000)

  it("sums up when it is interrupted", async () => {
    let isTold = false
    const { code, lines } = await simulate(["--hours", "1", "--progress", "1"], (line, pid) => {
      if (isTold || !/^[1-9]\d* runs/.test(line)) return
      isTold = true
      process.kill(pid, "SIGINT")
    })
    assert.strictEqual(code, 130, lines.join("\n"))
    assert.match(lines.at(-1) ?? "", /^[1-9]\d* runs, 0 wrong/)
  }, 120_000)
})
