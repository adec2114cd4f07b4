import { assert, describe, it } from "@effect/vitest"
import { Config, ConfigProvider, Duration, Effect } from "effect"
import * as Setting from "../../../src/services/tasks/Setting.ts"
import * as ShortDuration from "../../../src/services/tasks/ShortDuration.ts"
import * as ShortSize from "../../../src/services/tasks/ShortSize.ts"

const given = <A>(config: Config.Config<A>, text: string | undefined) =>
  config.parse(ConfigProvider.fromUnknown(text === undefined ? {} : { IT: text }))

const whole = Setting.whole("IT", { least: 0, most: 65_535, example: 3000 })
const level = Setting.oneOf("IT", ["low", "high"])

const right: ReadonlyArray<readonly [config: Config.Config<unknown>, text: string, value: unknown]> = [
  [whole, "0", 0],
  [whole, "65535", 65_535],
  [level, "high", "high"],
  [Setting.toggle("IT"), "yes", true],
  [Setting.toggle("IT"), "0", false],
  [ShortSize.configBytes("IT"), "64KiB", 65_536],
  [ShortSize.configBytes("IT"), "65536", 65_536],
  [ShortSize.configBytes("IT"), "1MB", 1_000_000],
  [Config.map(ShortDuration.config("IT"), Duration.toMillis), "1.5m", 90_000]
]

const wrong: ReadonlyArray<readonly [config: Config.Config<unknown>, text: string, message: string]> = [
  [whole, "65536", "IT is \"65536\": expected a whole number from 0 to 65,535, such as 3000"],
  [
    Setting.whole("IT", { least: 2, most: 9, example: 5 }),
    "1",
    "IT is \"1\": expected a whole number from 2 to 9, such as 5"
  ],
  [whole, "-1", "IT is \"-1\": expected a whole number from 0 to 65,535, such as 3000"],
  [whole, "1e3", "IT is \"1e3\": expected a whole number from 0 to 65,535, such as 3000"],
  [whole, " ", "IT is set, and empty: expected a whole number from 0 to 65,535, such as 3000"],
  [level, "middle", "IT is \"middle\": expected one of low, high"],
  [Setting.toggle("IT"), "maybe", "IT is \"maybe\": expected true or false"],
  [
    ShortSize.configBytes("IT"),
    "64 cups",
    "IT is \"64 cups\": expected a size from 1B to 1GiB, such as 64KiB (a bare number is bytes)"
  ],
  [
    ShortSize.configBytes("IT"),
    "0",
    "IT is \"0\": expected a size from 1B to 1GiB, such as 64KiB (a bare number is bytes)"
  ],
  [
    ShortSize.configBytes("IT"),
    "2GiB",
    "IT is \"2GiB\": expected a size from 1B to 1GiB, such as 64KiB (a bare number is bytes)"
  ],
  [ShortDuration.config("IT"), "60", "IT is \"60\": expected a duration like 250ms, 10s or 2m"]
]

describe("Setting", () => {
  it.effect("reads what is right", () =>
    Effect.forEach(
      right,
      ([config, text, value]) => Effect.map(given(config, text), (read) => assert.deepStrictEqual(read, value, text))
    ))

  it.effect("names the variable, what it holds, the form and an example", () =>
    Effect.forEach(
      wrong,
      ([config, text, message]) =>
        Effect.map(Effect.flip(given(config, text)), (error) => assert.strictEqual(error.cause.message, message))
    ))

  it.effect("tells one that is empty from one that is not set", () =>
    Effect.gen(function*() {
      const rows: ReadonlyArray<readonly [env: Record<string, string>, isEmpty: boolean]> = [
        [{ A_URL: "" }, true],
        [{ A_URL: "x" }, false],
        [{}, false],
        [{ A_URL_B: "" }, false],
        [{ A: "" }, false]
      ]
      for (const [env, isEmpty] of rows) {
        for (const provider of [ConfigProvider.fromEnv({ env }), ConfigProvider.fromUnknown(env)]) {
          const found = yield* Effect.provideService(
            Setting.isEmpty("A_URL"),
            ConfigProvider.ConfigProvider,
            provider
          )
          assert.strictEqual(found, isEmpty, JSON.stringify(env))
        }
      }
    }))

  it.effect("one that is not set has its default; one that is wrong has not", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* given(Config.withDefault(whole, 7), undefined), 7)
      assert.strictEqual((yield* Effect.flip(given(Config.withDefault(whole, 7), "x")))._tag, "ConfigError")
    }))
})
