/**
 * No secret of a URL comes out, however the URL is spelt.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as Redact from "../../../src/services/fetch/Redact.ts"

const secret = "S3CRET"

/** What a parser makes the same URL of, or refuses: schemes, slashes, and what it drops without a word. */
const schemes = ["http:", "https:", "HTTP:", "ht\ttp:", "h\nttp:", "\thttp:", "ftp:", "foo:", ""]
const slashes = ["//", "/", "", "\\\\", "\\/", "///", "/\t/", "////"]
const users = [
  secret,
  `user:${secret}`,
  `user:x@${secret}`,
  `user:x/${secret}`,
  `:${secret}`,
  `${secret}:`,
  `user:p w${secret}`,
  `us%40er:${secret}`,
  `user:\t${secret}`,
  `@${secret}`
]
const hosts = ["host.test", "127.0.0.1:8080", "[::1]:80", "ho st", "", "h%00st", "höst.test"]
const names = [
  "token",
  "TOKEN",
  "access_token",
  "ACCESS%5FTOKEN",
  "access%5Ftoken",
  "%74oken",
  "to\tken",
  "x-api-key",
  "X-API-Key",
  "x_api_key",
  "api.key",
  "apikey",
  "key",
  "password",
  "user[password]",
  "user%5Bpassword%5D",
  "client_secret",
  "X-Amz-Signature",
  "X-Goog-Credential",
  "sig",
  "session_id",
  "+token",
  "private-key"
]

/** With the parser's own opinion of what the user information is: only then is it a secret that has to go. */
const keepsUser = (text: string): boolean => {
  const url = URL.parse(text) ?? URL.parse(text, "http://base.test/")
  return url === null || `${url.username}:${url.password}`.includes(secret)
}

describe("secrets never come out", () => {
  it("of user information, in any spelling", () => {
    let judged = 0
    for (const scheme of schemes) {
      for (const slash of slashes) {
        for (const user of users) {
          for (const host of hosts) {
            const text = `${scheme}${slash}${user}@${host}/path`
            if (!keepsUser(text)) continue
            judged++
            assert.notInclude(Redact.url(text), secret, JSON.stringify(text))
          }
        }
      }
    }
    assert.isAbove(judged, 1000)
  })

  it("of parameters of the query and of the fragment", () => {
    for (const name of names) {
      for (
        const before of [
          "http://h.test/?",
          "http://h.test/?a=b&",
          "http://h.test/?a;",
          "/path?",
          "//u@h/?x&",
          "http://h.test/#",
          "http://h.test/?a#b=c&"
        ]
      ) {
        for (const after of ["", "&b=c", ";b", "#f", "&"]) {
          const text = `${before}${name}=${secret}${after}`
          assert.notInclude(Redact.url(text), secret, JSON.stringify(text))
        }
      }
    }
  })

  it("of a URL inside of a URL", () => {
    const inner = `http://user:${secret}@h.test/?token=${secret}`
    for (const value of [encodeURIComponent(inner), encodeURIComponent(`/next?token=${secret}`)]) {
      assert.notInclude(Redact.url(`http://h.test/login?next=${value}&x=y`), secret)
    }
    const deeper = encodeURIComponent(`http://h.test/?a=${encodeURIComponent(inner)}`)
    assert.notInclude(Redact.url(`http://h.test/login?next=${deeper}`), secret)
  })

  it.effect.prop(
    "of any mixture, also when only its beginning is shown",
    {
      scheme: Schema.Literals(schemes),
      slash: Schema.Literals(slashes),
      user: Schema.Literals(users),
      host: Schema.Literals(hosts),
      lead: Schema.Literals(["?", "#", "?a&", "?a=b#c=d&", "?a=b;"]),
      name: Schema.Literals(names),
      length: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 200 }))
    },
    ({ host, lead, length, name, scheme, slash, user }) =>
      Effect.sync(() => {
        const text = `${scheme}${slash}${user}@${host}/p${lead}${name}=${secret}&z=1`
        const shown = Redact.brief(text, length)
        const start = shown.search(/[?#]/)
        const judged = keepsUser(text) ? shown : start === -1 ? "" : shown.slice(start)
        assert.notInclude(judged, secret, JSON.stringify(text))
      }),
    { arbitrary: { runs: process.env["SLUICE_LONG"] === "1" ? 100_000 : 3000 } }
  )
})

describe("what is no secret stays as it was written", () => {
  const same = [
    "https://one.test/a?b=c",
    "HTTPS://One.test/@user",
    "/@user/x?b=c",
    "https://one.test/a?monkey=1&keyboard=2&tokens=3&pages=4",
    "https://one.test/a?author=x&design=y&passage=z",
    "https://one.test/mail?to=a@b.test",
    "https://one.test/a?next=https%3A%2F%2Ftwo.test%2F%3Fb%3Dc",
    "https://one.test/a\t?b=c"
  ]
  for (const url of same) it(JSON.stringify(url), () => assert.strictEqual(Redact.url(url), url))
})
