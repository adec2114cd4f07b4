/** Other ways to write a path that some router, proxy or file system somewhere takes for the same. */

const hex = (char: string) =>
  encodeURIComponent(char).startsWith("%") ? encodeURIComponent(char) : `%${char.charCodeAt(0).toString(16)}`

// dprint-ignore
const slashes = [
  "//", "///", "/./", "/x/../", "\\", "/\\", "%5c", "/%2e/", "/.;/", "/;a=b/", "／", "∕", "%c0%af", "/%00/", "/%09"
]

const otherCharacters = (char: string): ReadonlyArray<string> => [
  hex(char),
  hex(char).toUpperCase(),
  hex(char).replaceAll("%", "%25"),
  `%u00${char.charCodeAt(0).toString(16)}`,
  ...(char === "/" ? slashes : [char.toUpperCase()])
]

// dprint-ignore
const tails = [
  "/", "//", "/.", "/..", "/./", "/%2e", ".", "..", ".json", ";", ";x", ";/../livez", "%20", "%00", "%0a", "\\", "#", "#/livez", "?", "?/livez",
  `/${"x".repeat(4000)}`, `?${"x".repeat(4000)}`
]

// dprint-ignore
const heads = [
  "/.", "/..", "/x/..", "/livez/..", "/livez/../..", "/livez;/..", "/livez%2f..", "/docs/%2e%2e", "/%2e%2e", "\\", "/problems/x/../..",
  "/%ef%bc%8f", "/".repeat(200), "/x/..".repeat(100),
  "http://evil.example", "https://evil.example:443", "HTTP://evil.example", "http:", "//127.0.0.1", "http://a@b:1"
]

/** Every spelling of a path, itself among them: with one character written another way, or with something before or behind it. */
export const of = (path: string): ReadonlyArray<string> => {
  const characters = [...path].flatMap((char, index) =>
    otherCharacters(char).map((other) => path.slice(0, index) + other + path.slice(index + 1))
  )
  const wholes = [
    path.toUpperCase(),
    path.slice(1),
    ...tails.map((tail) => path + tail),
    ...heads.map((head) => head + path)
  ]
  return [...new Set([path, ...wholes, ...characters])]
}
