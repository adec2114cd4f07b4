import { assert, describe, it } from "@effect/vitest"
import { stripVTControlCharacters } from "node:util"
import { wrap } from "../../../src/programs/terminal/Paragraph.ts"

const plain = (line: string, columns: number) => wrap(line, columns).map(stripVTControlCharacters)

describe("Paragraph", () => {
  it("leaves what fits", () => {
    assert.deepStrictEqual(wrap("  two  columns", 15), ["  two  columns"])
    assert.deepStrictEqual(wrap("", 10), [""])
  })

  it("breaks between words, a little further to the right", () => {
    assert.deepStrictEqual(plain("nothing leaves this machine", 16), ["nothing leaves", "  this machine"])
    assert.deepStrictEqual(plain("  nothing leaves this machine", 16), ["  nothing", "    leaves this", "    machine"])
  })

  it("keeps figures and columns whole", () => {
    const dot = "\u001b[2m · \u001b[22m"
    assert.deepStrictEqual(
      plain(`  250 URLs/s${dot}393 KiB/s${dot}0 in flight${dot}\u001b[31m298 failed\u001b[39m`, 30),
      ["  250 URLs/s · 393 KiB/s", "    0 in flight · 298 failed"]
    )
    assert.deepStrictEqual(plain("  ok     10.0 %  status 404", 20), ["  ok     10.0 %", "    status 404"])
  })

  it("never breaks what may be pasted, however narrow it is", () => {
    const command = "`./sluice fetch --run big1 --save bodies`"
    assert.deepStrictEqual(plain(`go on with ${command}, say`, 20), ["go on with", `  ${command},`, "  say"])
    const bold = `298 failed: \u001b[1m./sluice fetch --run big1\u001b[22m, say`
    assert.deepStrictEqual(plain(bold, 20), ["298 failed:", "  ./sluice fetch --run big1,", "  say"])
    assert.deepStrictEqual(plain("see https://example.com/a/very/long/path now", 12), [
      "see",
      "  https://example.com/a/very/long/path",
      "  now"
    ])
  })

  it("loses no word at any width, and breaks no line that could be shorter", () => {
    const line = "  a first sentence  of two columns · a figure of 3,000 · `npm start -s -- runs` and the end"
    const words = (text: string) => text.replaceAll("·", " ").split(/\s+/).filter((word) => word !== "")
    for (let columns = 1; columns < 120; columns++) {
      const lines = plain(line, columns)
      assert.deepStrictEqual(words(lines.join(" ")), words(line), `${columns} columns`)
      for (const each of lines) {
        const isWord = !/\s/.test(each.trim().replace(/`[^`]*`/, "command"))
        assert.isTrue(each.length < columns || isWord, `${columns}: ${each}`)
      }
    }
  })
})
