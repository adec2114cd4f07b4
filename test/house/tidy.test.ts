/**
 * The limits that we set ourselves and that no linter knows: `npm run lint` watches the length of files and functions and the
 * number of parameters.
 */
import { assert, describe, it } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { join, resolve } from "node:path"

const root = resolve(import.meta.dirname, "../..")

interface Rule {
  readonly name: string
  readonly of: RegExp
  /** The numbers of the lines that break it, from one. */
  readonly broken: (lines: ReadonlyArray<string>) => ReadonlyArray<number>
  /** A text that breaks it, and one that does not. */
  readonly breaks: string
  readonly keeps: string
  /** Files that may break it, and why. */
  readonly except?: Record<string, string>
}

const linesThat = (isBroken: (line: string) => boolean) => (lines: ReadonlyArray<string>) =>
  lines.flatMap((line, index) => isBroken(line) ? [index + 1] : [])

const isComment = (line: string) => /^\s*(\/\/|\/\*|\*|--)/.test(line)

const rules: ReadonlyArray<Rule> = [
  {
    name: "a comment is at most 140 columns wide",
    of: /^(src|test|bench|examples)\/.*\.(ts|sql)$/,
    broken: linesThat((line) => isComment(line) && line.length > 140),
    breaks: `// ${"far ".repeat(50)}`,
    keeps: "// near"
  },
  {
    name: "a line of code is at most 160 columns wide",
    of: /^src\/.*\.(ts|sql)$/,
    broken: linesThat((line) => !isComment(line) && line.length > 160),
    breaks: `const far = "${"far ".repeat(50)}"`,
    keeps: "const near = 1",
    except: {
      "src/services/http/OrdersGroup.ts": "sentences of the API's description",
      "src/services/http/OperateGroup.ts": "sentences of the API's description",
      "src/services/http/Problem.ts": "sentences of the problems' pages",
      "src/layers/postgres/supervisor/Cluster.ts": "a line of pg_hba.conf",
      "src/programs/bin/Sluice.ts": "a sentence of the help"
    }
  },
  {
    name: "effect is imported by name from its barrel",
    of: /^src\/.*\.ts$/,
    broken: linesThat((line) => /^import (type )?\* as (\w+) from "effect\/\2"$/.test(line)),
    breaks: "import * as Effect from \"effect/Effect\"",
    keeps: "import { Effect } from \"effect\"",
    except: { "src/layers/tasks/offloadThread.ts": "a thread loads what it needs and nothing else" }
  },
  {
    name: "private members say private",
    of: /^src\/.*\.ts$/,
    broken: linesThat((line) => /^\s+(static |readonly |get |set |async )*#\w+/.test(line)),
    breaks: "class A {\n  #count = 0\n}",
    keeps: "class A {\n  private count = 0\n}"
  },
  {
    name: "nothing is left for later in a comment",
    of: /^(src|test|bench|examples|scripts)\/.*\.(ts|sql|mjs)$/,
    broken: linesThat((line) => /\b(TODO|FIXME|XXX|HACK)\b/.test(line) && isComment(line)),
    breaks: "// TODO: later",
    keeps: "// Later callers wait."
  },
  {
    name: "a layer or a service names no program, not even in a string",
    of: /^src\/(services|layers)\/.*\.ts$/,
    broken: linesThat((line) => /["'`][./]*\/programs\//.test(line)),
    breaks: "new URL(\"../../programs/bin/main.ts\", import.meta.url)",
    keeps: "new URL(\"./loopWatchdog.ts\", import.meta.url)"
  },
  {
    name: "a file that is all doc opens with what it is",
    of: /^src\/(services|layers)\/.*\.ts$/,
    broken: (lines) => /\/\*\*/.test(lines.join("\n")) ? [] : [1],
    breaks: "export const count = 1",
    keeps: "/** How many. */\nexport const count = 1"
  }
]

const files = execFileSync("git", ["ls-files", "src", "test", "bench", "examples", "scripts"], {
  cwd: root,
  encoding: "utf8"
}).trim().split("\n")

describe("tidy", () => {
  for (const rule of rules) {
    it(rule.name, () => {
      assert.isAbove(rule.broken(rule.breaks.split("\n")).length, 0, "a text that breaks it is found")
      assert.deepStrictEqual(rule.broken(rule.keeps.split("\n")), [])
      const own = files.filter((file) => rule.of.test(file))
      assert.isAbove(own.length, 0, "the rule is for some files")
      const offenders = own.flatMap((file) => {
        const found = rule.broken(readFileSync(join(root, file), "utf8").split("\n"))
        const isExcepted = rule.except?.[file] !== undefined
        if (isExcepted) return found.length === 0 ? [`${file} keeps the rule by now: take it off the list`] : []
        return found.map((line) => `${file}:${line}`)
      })
      assert.deepStrictEqual(offenders, [])
    })
  }
})
