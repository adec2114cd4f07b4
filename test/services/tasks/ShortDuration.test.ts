/** Durations as the operating guide gives them: everywhere in the one form, and an error that shows it. */
import { assert, it } from "@effect/vitest"
import { Config, ConfigProvider, Duration, Effect } from "effect"
import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"
import * as Ending from "../../../src/programs/process/Ending.ts"
import * as ShortDuration from "../../../src/services/tasks/ShortDuration.ts"

const root = join(import.meta.dirname, "../../..")

const read = (text: string) =>
  ShortDuration.config("SLUICE_X").pipe(
    Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromEnv({ env: { SLUICE_X: text } }))
  )

it.effect("reads what people type, and nothing else", () =>
  Effect.gen(function*() {
    const good = {
      "30s": 30_000,
      "60s": 60_000,
      "250ms": 250,
      "2m": 120_000,
      "1.5m": 90_000,
      "2h": 7_200_000,
      "1d": 86_400_000,
      "0": 0
    }
    for (const [text, millis] of Object.entries(good)) {
      assert.strictEqual(Duration.toMillis(yield* read(text)), millis, text)
    }
    for (const text of [" ", "30", "30 seconds", "-1s", "1e3s", "s", "30S", "Infinity", "1w", "30s "]) {
      const error = yield* Effect.flip(read(text))
      assert.instanceOf(error, Config.ConfigError)
      assert.match(
        Ending.describe(error) ?? "",
        /SLUICE_X.*a duration like 250ms, 10s or 2m|a duration like 250ms, 10s or 2m.*SLUICE_X/
      )
    }
  }))

it("every duration of the environment is read in this form, and the operating guide gives it so", () => {
  const files = globSync("src/**/*.ts", { cwd: root }).map((name) => [name, readFileSync(join(root, name), "utf8")])
  assert.deepStrictEqual(files.filter(([, text]) => /Config\.Duration\b/.test(text ?? "")).map(([name]) => name), [])
  const guide = readFileSync(join(root, "docs/operating.md"), "utf8")
  // The demo's worker has its own, which nobody sets.
  const told = files.filter(([name]) => name !== "src/programs/bin/orderWorker.ts")
  const names = told.flatMap(([, text]) =>
    [...(text ?? "").matchAll(/ShortDuration\.config\("(SLUICE_\w+)"\)/g)].map((match) => match[1])
  )
  assert.includeMembers(names, ["SLUICE_REQUEST_DEADLINE", "SLUICE_STATEMENT_TIMEOUT", "SLUICE_DATABASE_PATIENCE"])
  for (const name of names) {
    const fallback = new RegExp(`\`${name}\`.*\\| ([^\\s;|]+)(;[^|]*)? +\\|$`, "m").exec(guide)?.[1] ?? ""
    assert.isDefined(ShortDuration.parse(fallback), `${name}: ${fallback}`)
  }
})
