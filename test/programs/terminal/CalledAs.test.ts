import { assert, describe, it } from "@effect/vitest"
import { calledBy, typed } from "../../../src/programs/terminal/CalledAs.ts"

describe("CalledAs", () => {
  it("is the name by which the same program starts again", () => {
    const rows: ReadonlyArray<readonly [env: Record<string, string>, name: string]> = [
      [{}, "sluice"],
      [{ SLUICE_CALLED_AS: "./sluice" }, "./sluice"],
      [{ SLUICE_CALLED_AS: "../a house/sluice" }, "'../a house/sluice'"],
      [{ SLUICE_CALLED_AS: "/o'brien/sluice" }, String.raw`'/o'\''brien/sluice'`],
      [{ SLUICE_CALLED_AS: "./sluice", npm_lifecycle_event: "start", npm_package_name: "sluice" }, "./sluice"],
      [{ npm_lifecycle_event: "start", npm_package_name: "sluice" }, "npm start -s --"],
      [{ npm_lifecycle_event: "test", npm_package_name: "sluice" }, "sluice"],
      [{ npm_lifecycle_event: "npx" }, "npx sluice"],
      [{ npm_lifecycle_event: "start", npm_package_name: "shop" }, "npx sluice"]
    ]
    for (const [env, name] of rows) assert.strictEqual(calledBy(env), name, JSON.stringify(env))
  })

  it("is put for the name that texts have in backticks", () => {
    assert.strictEqual(
      typed("lacks it; run `sluice migrate`, or not; sluice is a gate", "npm start -s --"),
      "lacks it; run `npm start -s -- migrate`, or not; sluice is a gate"
    )
  })
})
