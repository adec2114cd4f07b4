/**
 * Every program of examples/ is run as its first line says, and prints what it promises.
 */
import { assert, describe, it } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import { readdirSync } from "node:fs"
import { resolve } from "node:path"

const root = resolve(import.meta.dirname, "..")

const promised: Readonly<Record<string, string>> = {
  "chat.ts": "1000 connections in 10 rooms\n1000 have heard what was said in their room, and nothing else\n" +
    "who did not read was dropped, and the room goes on\n",
  "priceFeed.ts": "c3: StatusError\na1: 200 cents\nb22: 300 cents\n"
}

describe("examples", () => {
  it("are all promised something", () => {
    assert.deepStrictEqual(readdirSync(resolve(root, "examples")).toSorted(), Object.keys(promised).toSorted())
  })

  it.each(Object.entries(promised))("%s", (file, output) => {
    const printed = execFileSync(process.execPath, ["--conditions=sluice-source", `examples/${file}`], {
      cwd: root,
      encoding: "utf8"
    })
    assert.strictEqual(printed, output)
  })
})
