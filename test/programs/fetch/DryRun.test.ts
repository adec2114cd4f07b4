/** What is said of an input that is not fetched. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Runtime, Stream } from "effect"
import * as MemoryFrontier from "../../../src/layers/fetch/MemoryFrontier.ts"
import * as DryRun from "../../../src/programs/fetch/DryRun.ts"
import { decode, type MalformedLine } from "../../../src/programs/fetch/Inputs.ts"
import { RunMeter } from "../../../src/programs/fetch/RunMeter.ts"
import { Frontier, type OutcomeFilter } from "../../../src/services/fetch/Frontier.ts"
import { deferred, failed, succeeded, target } from "../../conformance/Frontier.suite.ts"

const inputs = (text: string) => decode("list", "detect")(Stream.succeed(new TextEncoder().encode(text)))

const read = (
  text: string | undefined,
  { again, isKnown = false }: { readonly again?: OutcomeFilter; readonly isKnown?: boolean } = {}
) =>
  Effect.gen(function*() {
    const malformed: Array<MalformedLine> = []
    const report = yield* DryRun.read({
      name: "spring",
      isKnown,
      inputs: text === undefined ? undefined : inputs(text),
      again,
      onMalformed: (line) => Effect.sync(() => void malformed.push(line)),
      meter: new RunMeter(0)
    })
    return { malformed: malformed.map(({ line }) => line), report, lines: DryRun.lines(report) }
  })

const last = "a dry run: nothing was sent, and nothing recorded"

describe("a dry run", () => {
  it.effect("counts URLs by host, repeated lines and malformed ones, and needs no run", () =>
    Effect.gen(function*() {
      const { lines, malformed, report } = yield* read(
        "http://b.test/\nhttp://a.test/1\noops\nhttp://a.test/2\nHTTP://A.test:80/1#x\nhttp://a.test/3\n"
      )
      assert.deepStrictEqual(malformed, [3])
      assert.deepStrictEqual(lines, [
        "would fetch 4 URLs of 2 hosts",
        "  a.test  3",
        "  b.test  1",
        "1 line of the input repeat others",
        "1 line of the input malformed",
        last
      ])
      const error = yield* Effect.flip(DryRun.complete(report))
      assert.deepStrictEqual([error[Runtime.errorExitCode], error[Runtime.errorReported]], [2, false])
      assert.deepStrictEqual(yield* (yield* Frontier).runs(), [])
    }).pipe(Effect.provide(MemoryFrontier.layer)))

  it.effect("names the hosts with the most, and counts the others", () =>
    Effect.gen(function*() {
      const list = Array.from({ length: 12 }, (_, n) => `http://h${n}.test/\nhttp://h11.test/${n}`).join("\n")
      const { lines, report } = yield* read(list)
      assert.deepStrictEqual(lines.slice(0, 2), ["would fetch 24 URLs of 12 hosts", "  h11.test  13"])
      assert.deepStrictEqual(lines.slice(-3), ["  h8.test  1", "  and 2 more", last])
      yield* DryRun.complete(report)
    }).pipe(Effect.provide(MemoryFrontier.layer)))

  it.effect("compares with a run that is known, and leaves it as it is", () =>
    Effect.gen(function*() {
      const frontier = yield* Frontier
      yield* Effect.scoped(Effect.gen(function*() {
        const run = yield* frontier.open("spring")
        yield* run.add([1, 2, 3, 4, 5].map((n) => target(`http://a.test/${n}`)))
        const supply = yield* run.source.pull({ limit: 4, closedHosts: new Set() })
        const ends = [succeeded, failed, failed, (of: Parameters<typeof failed>[0]) =>
          deferred(of, "2100-01-01T00:00:00.000Z")]
        const targets = supply._tag === "Targets" ? supply.targets : []
        yield* run.settle(ends.flatMap((end, at) =>
          targets.slice(at, at + 1).map(end)
        ))
      }))
      const before = yield* frontier.find("spring")
      const { lines } = yield* read("http://a.test/1\nhttp://a.test/5\nhttp://a.test/6", {
        isKnown: true,
        again: { failed: true }
      })
      assert.deepStrictEqual(lines, [
        "would fetch 1 URL of 1 host",
        "  a.test  1",
        "and 1 URL that run spring has left",
        "and 2 URLs of run spring again",
        "2 lines of the input known to run spring already",
        last
      ])
      const alone = yield* read(undefined, { isKnown: true })
      assert.deepStrictEqual(alone.lines, ["would fetch 0 URLs", "and 1 URL that run spring has left", last])
      assert.deepStrictEqual(yield* frontier.find("spring"), before)
    }).pipe(Effect.provide(MemoryFrontier.layer)))

  it.effect("of nothing is told as a run's is", () =>
    Effect.gen(function*() {
      for (const [text, message] of [["# none\n", "is empty"], ["oops", "its only line is malformed"]] as const) {
        const error = yield* Effect.flip(read(text))
        assert.deepStrictEqual([error._tag, error.message.includes(message)], ["EmptyInput", true])
      }
    }).pipe(Effect.provide(MemoryFrontier.layer)))
})
