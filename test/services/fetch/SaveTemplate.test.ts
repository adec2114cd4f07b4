/**
 * Names of saved bodies by a template: what is refused, what it gives, and that it never leads out of its directory.
 */
import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import * as BodyName from "../../../src/services/fetch/BodyName.ts"
import * as Extension from "../../../src/services/fetch/Extension.ts"
import { type FetchRequest, parseTarget } from "../../../src/services/fetch/FetchRequest.ts"
import * as SaveTemplate from "../../../src/services/fetch/SaveTemplate.ts"

const digest = "0123456789abcdef0123456789abcdef"

const named = (template: string, request: FetchRequest, contentType?: string) => {
  const target = Result.getOrThrow(parseTarget(request))
  return BodyName.of({ target, contentType, digest }, Result.getOrThrow(SaveTemplate.parse(template)))
}

const pathOf = ({ directories, file }: BodyName.BodyName) => [...directories, file].join("/")

describe("a template", () => {
  const wrong: ReadonlyArray<readonly [string, RegExp]> = [
    ["{pth}", /^\{host\}, \{path\}, .* or \{input\.NAME\}: \{pth\} is no field$/],
    ["{constructor}", /is no field/],
    ["{input.}", /is no field/],
    ["{}", /is no field/],
    ["{id", /a \} for each \{/],
    ["id}", /a \} for each \{/],
    ["{a{id}}", /a \} for each \{/],
    ["page.html", /a field, such as/],
    ["", /a field, such as/],
    ["/{id}", /below the directory/],
    ["{id}/", /below the directory/],
    ["a//{id}", /below the directory/],
    ["../{id}", /below the directory/],
    ["{id}/./x", /below the directory/],
    [`{id}${"x".repeat(1000)}`, /at most 1000 characters/]
  ]
  for (const [template, expected] of wrong) {
    it(`${JSON.stringify(template.slice(0, 20))} is refused with what would be right`, () => {
      const error = Result.getOrThrow(Result.flip(SaveTemplate.parse(template)))
      assert.strictEqual(error._tag, "InvalidSaveTemplate")
      assert.match(error.expected, expected)
      assert.include(error.message, error.expected)
    })
  }

  const request: FetchRequest = {
    url: "http://One.test:8080/shop/a%20b/thing.tar.GZ?page=2&q=x/y",
    method: "PUT",
    label: { source: "in/list.csv", line: 7, id: "k-1", input: { country: "de", n: 5, "a b": { c: 1 } } }
  }
  const right: ReadonlyArray<readonly [string, string]> = [
    ["{host}/{path}{ext}", "One.test_8080/shop/a_20b/thing.tar.gz".toLowerCase()],
    ["{id}{ext}", "k-1.gz"],
    ["{id}", "k-1"],
    ["{input.country}/{line}.html", "de/7.html"],
    ["{input.n}-{input.a b}-{input.none}x", "5-_c_1_-x"],
    ["{method}_{query}", "PUT_page_2_q_x_y"],
    ["{source}/{line}", "in_list.csv/7"],
    ["all/{digest}{ext}", `all/${digest}.gz`]
  ]
  for (const [template, path] of right) {
    it(`${template} gives ${path}`, () => assert.strictEqual(pathOf(named(template, request)), path))
  }

  it("has a name where a path ends in a directory, and the digest where nothing is left of one", () => {
    const of = (url: string) => pathOf(named("{host}/{path}{ext}", { url }, "text/html; charset=utf-8"))
    assert.strictEqual(of("http://one.test/"), "one.test/index.html")
    assert.strictEqual(of("http://one.test/a/"), "one.test/a/index.html")
    assert.strictEqual(of("http://one.test/a"), "one.test/a.html")
    assert.strictEqual(pathOf(named("{id}{ext}", { url: "http://one.test/" }, "text/html")), `${digest}.html`)
  })

  it("says what a name is called that is taken; one with the digest never is", () => {
    const url = "http://one.test/a"
    assert.strictEqual(named("{path}{ext}", { url }, "text/css").spare, `a-${digest}.css`)
    assert.strictEqual(named("{id}", { url }).spare, digest)
    assert.isUndefined(named("{path}-{digest}", { url }).spare)
  })

  const hostile = [
    "../../etc/passwd",
    "..",
    "/etc/passwd",
    "a\\..\\b",
    "\0",
    ".bashrc",
    "-rf",
    "x".repeat(5000),
    "é".repeat(300),
    "a/".repeat(3000),
    "../".repeat(50),
    "CON"
  ]
  for (const value of hostile) {
    it(`${JSON.stringify(value.slice(0, 20))} stays inside, and within what file systems take`, () => {
      for (const template of ["{id}", "{id}/{id}{ext}", "{input.a}/x/{source}", "{path}/{query}-{id}.html"]) {
        const url = `http://one.test/${encodeURI(value).slice(0, 8000)}?${encodeURI(value).slice(0, 100)}`
        const label = { id: value, source: value, input: { a: value } }
        const name = named(template, { url, label }, "text/html")
        assert.isAtMost(name.directories.length, 16)
        for (const part of [...name.directories, name.file, name.spare ?? "x"]) {
          assert.match(part, /^[A-Za-z0-9-][A-Za-z0-9._-]*$/)
          assert.isAtMost(Buffer.byteLength(part), 255)
        }
        assert.isAtMost(Buffer.byteLength(pathOf(name)), 3500)
      }
    })
  }
})

describe("an extension", () => {
  const table: ReadonlyArray<readonly [path: string, type: string | undefined, expected: string]> = [
    ["/a.PNG", "text/html", ".png"],
    ["/a", "text/html;charset=utf-8", ".html"],
    ["/a", " Application/JSON ", ".json"],
    ["/a", "what/ever", ""],
    ["/a", undefined, ""],
    ["/v1.2", "text/plain", ".txt"],
    ["/film.mp4", undefined, ".mp4"],
    ["/a.7z", undefined, ".7z"],
    ["/index.php", "text/html", ".html"],
    ["/index.php", undefined, ".php"],
    ["/a.averyveryverylongone", "text/html", ".html"]
  ]
  for (const [path, type, expected] of table) {
    it(`of ${path}, ${String(type)} is "${expected}"`, () => assert.strictEqual(Extension.of(path, type), expected))
  }
})
