/**
 * robots.txt: the rules and examples of RFC 9309 as a table.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Robots from "../../../src/services/fetch/Robots.ts"
import * as RobotsRules from "../../../src/services/fetch/RobotsRules.ts"
import type { Rule } from "../../../src/services/fetch/RobotsRules.ts"
import { chanceOf } from "../../support/fetch/SimulatedHost.ts"

const agent = "sluice/0.1 (+https://example.org)"

const table: ReadonlyArray<readonly [title: string, text: string, verdicts: Record<string, boolean>, agent?: string]> =
  [
    ["no rules at all", "", { "/": true, "/x": true }],
    ["disallow all", "User-agent: *\nDisallow: /", { "/": false, "/x": false, "/robots.txt": true }],
    ["an empty disallow allows", "User-agent: *\nDisallow:", { "/x": true }],
    ["names are case-insensitive, values of paths are not", "USER-AGENT: *\nDISALLOW: /A", { "/A": false, "/a": true }],
    ["the group of the crawler, not that of all", "User-agent: *\nDisallow: /\n\nUser-agent: Sluice\nDisallow: /x", {
      "/": true,
      "/x": false
    }],
    ["a version in the file does not matter", "User-agent: sluice/9\nDisallow: /x", { "/x": false }],
    ["another crawler's group does not apply", "User-agent: other\nDisallow: /", { "/x": true }],
    ["a longer token is another crawler", "User-agent: sluicebot\nDisallow: /", { "/x": true }],
    ["several agents, one group", "User-agent: a\nUser-agent: sluice\nDisallow: /x", { "/x": false }],
    ["groups of one crawler are joined", "User-agent: sluice\nDisallow: /x\n\nUser-agent: sluice\nDisallow: /y", {
      "/x": false,
      "/y": false,
      "/z": true
    }],
    ["the longest match wins", "User-agent: *\nDisallow: /a\nAllow: /a/b\nDisallow: /a/b/c", {
      "/a": false,
      "/a/b": true,
      "/a/b/c": false
    }],
    ["of equals the allow wins", "User-agent: *\nDisallow: /page\nAllow: /page", { "/page": true }],
    ["order does not matter", "User-agent: *\nAllow: /a/b\nDisallow: /a", { "/a/b": true, "/a/c": false }],
    [
      "RFC 9309 section 5.1",
      [
        "User-Agent: *",
        "Disallow: *.gif$",
        "Disallow: /example/",
        "Allow: /publications/",
        "",
        "User-Agent: foobot",
        "Disallow:/",
        "Allow:/example/page.html",
        "Allow:/example/allowed.gif",
        "",
        "User-Agent: barbot",
        "User-Agent: bazbot",
        "Disallow: /example/page.html",
        "",
        "User-Agent: quxbot"
      ].join("\n"),
      { "/a.gif": false, "/a.gif?x": true, "/example/x": false, "/publications/": true }
    ],
    ["RFC 9309 section 5.1, foobot", "User-Agent: foobot\nDisallow:/\nAllow:/example/page.html", {
      "/x": false,
      "/example/page.html": true
    }, "foobot"],
    ["a group without rules allows", "User-agent: *\nDisallow: /\n\nUser-agent: quxbot", { "/x": true }, "quxbot"],
    [
      "RFC 9309 section 5.2, longest match",
      "User-Agent: foobot\nAllow: /example/page/\nDisallow: /example/page/disallowed.gif",
      {
        "/example/page/": true,
        "/example/page/disallowed.gif": false
      },
      "foobot"
    ],
    ["a star is any run", "User-agent: *\nDisallow: /*/private", {
      "/a/private": false,
      "/a/b/private/c": false,
      "/private": true
    }],
    ["a dollar is the end", "User-agent: *\nDisallow: /*.php$", { "/a.php": false, "/a.php5": true, "/a.php?x": true }],
    ["a dollar elsewhere is itself", "User-agent: *\nDisallow: /a$b", { "/a$b": false, "/a": true }],
    ["a star before the end", "User-agent: *\nDisallow: /a*$", { "/a": false, "/abc": false, "/b": true }],
    ["overlapping pieces are not counted twice", "User-agent: *\nDisallow: /ab*ba$", { "/aba": true, "/abba": false }],
    ["percent-encoding is made comparable", "User-agent: *\nDisallow: /a%3cd\nDisallow: /%7ejoe", {
      "/a%3Cd": false,
      "/~joe": false,
      "/%7Ejoe": false
    }],
    ["other scripts match their encoding", "User-agent: *\nDisallow: /ツ", { "/%E3%83%84": false }],
    ["an encoded slash is no slash", "User-agent: *\nDisallow: /a%2Fb", { "/a/b": true, "/a%2Fb": false }],
    ["comments", "User-agent: * # all\nDisallow: /x # not this\n# Disallow: /y", { "/x": false, "/y": true }],
    ["a byte order mark", "\uFEFFUser-agent: *\nDisallow: /x", { "/x": false }],
    ["carriage returns", "User-agent: *\r\nDisallow: /x\rDisallow: /y", { "/x": false, "/y": false }],
    ["rules before any agent are nobody's", "Disallow: /\nUser-agent: *\nDisallow: /x", { "/": true, "/x": false }],
    ["Crawl-delay does not split a group", "User-agent: a\nCrawl-delay: 2\nUser-agent: sluice\nDisallow: /x", {
      "/x": false
    }],
    ["Sitemap does not split a group", "User-agent: a\nSitemap: https://x/s\nUser-agent: sluice\nDisallow: /x", {
      "/x": false
    }],
    ["junk is skipped", "<html>\n:::\nUser-agent: *\nDisallow /no-colon\nDisallow: /x", {
      "/x": false,
      "/no-colon": true
    }],
    ["an encoded star and an encoded dollar are themselves", "User-agent: *\nDisallow: /a%2Ab\nDisallow: /c%24", {
      "/a*b": false,
      "/a%2ab": false,
      "/axb": true,
      "/c$": false,
      "/c$d": false,
      "/c": true
    }],
    ["an encoded dollar at the end, and then the end", "User-agent: *\nDisallow: /a%24$", {
      "/a$": false,
      "/a$b": true
    }],
    ["stars in a row are one", "User-agent: *\nDisallow: /a*****b$", { "/ab": false, "/axb": false, "/abc": true }],
    ["nothing but a star", "User-agent: *\nDisallow: *", { "/": false, "/x": false }],
    ["nothing but the end", "User-agent: *\nDisallow: $", { "/": true }],
    ["the query is part of the path", "User-agent: *\nDisallow: /*?session=", { "/a?session=1": false, "/a?b": true }]
  ]

describe("Robots", () => {
  for (const [title, text, verdicts, by] of table) {
    it(title, () => {
      const rules = Robots.parse(text, by ?? agent)
      for (const [path, expected] of Object.entries(verdicts)) assert.strictEqual(rules.allows(path), expected, path)
    })
  }

  it("the delay is the group's", () => {
    assert.strictEqual(Robots.parse("User-agent: *\nCrawl-delay: 2.5\nDisallow: /x", agent).delaySeconds, 2.5)
    assert.isUndefined(Robots.parse("User-agent: *\nCrawl-delay: soon", agent).delaySeconds)
  })
})

describe("a table of rules", () => {
  /** The rules as section 2.2.2 words them, one after the other. */
  const plain = (rules: ReadonlyArray<Rule>) => (path: string) => {
    const matching = rules.filter(({ pattern }) => {
      const source = pattern.replace(/\$$/, "").split("*").map((piece) => piece.replace(/[$?.]/g, "\\$&")).join(".*")
      return new RegExp(`^${source}${pattern.endsWith("$") ? "$" : ""}`).test(path)
    })
    const length = Math.max(0, ...matching.map(({ pattern }) => pattern.length))
    const longest = matching.filter(({ pattern }) => pattern.length === length)
    return longest.length === 0 || longest.some(({ allows }) => allows)
  }

  it("says the same as its rules one by one", () => {
    const chance = chanceOf(11)
    const text = (letters: string, max: number) =>
      Array.from({ length: Math.floor(chance() * max) }, () => letters[Math.floor(chance() * letters.length)] ?? "")
        .join("")
    for (let n = 0; n < 3000; n++) {
      const rules: Array<Rule> = Array.from({ length: 1 + Math.floor(chance() * 6) }, () => ({
        allows: chance() < 0.5,
        pattern: `/${text("aab/**?", 7)}${chance() < 0.3 ? "$" : ""}`
      }))
      const [allows, expected] = [RobotsRules.compile(rules), plain(rules)]
      for (let m = 0; m < 10; m++) {
        const path = `/${text("aab/?", 9)}`
        assert.strictEqual(allows(path), expected(path), JSON.stringify({ rules, path }))
      }
    }
  })

  const hostile: ReadonlyArray<readonly [title: string, rule: (n: number) => string, path: string]> = [
    ["prefixes", (n) => `/section-${n}/`, "/section-77/page?x=1"],
    ["prefixes of one length, and a path that holds none", (n) => `/${n + 100_000}`, `/${"x".repeat(2000)}`],
    ["stars and ends", (n) => `/*/${n}*.php$`, "/a/b/c/d/index.html"],
    ["many stars", (n) => `/a*a*a*a*a*a*a*a*b${n}`, `/${"a".repeat(2000)}`],
    ["stars in a row", (n) => `/${"*".repeat(10)}${n}`, `/${"a*".repeat(500)}`],
    ["the same rule", () => "/a*a*a*a*a*a*b", `/${"a".repeat(2000)}`]
  ]
  for (const [title, rule, path] of hostile) {
    it(`20,000 rules, ${title}: asked in microseconds`, () => {
      const lines = Array.from({ length: 20_000 }, (_, n) => `Disallow: ${rule(n)}`)
      const rules = Robots.parse(`User-agent: *\n${lines.join("\n")}`, agent)
      rules.allows(path)
      const times = Array.from({ length: 50 }, () => {
        const from = performance.now()
        rules.allows(path)
        return performance.now() - from
      }).toSorted((a, b) => a - b)
      if (process.env["SLUICE_FIGURES"] !== undefined) console.log(title, `${(1000 * (times[25] ?? 0)).toFixed(1)} us`)
      // The quickest of fifty: a machine that is busy is not what is measured.
      assert.isBelow(times[0] ?? Infinity, 2)
    })
  }
})
