/**
 * Flags whose values say what is sent, or name a file that does (`@FILE`): headers, a body, a user.
 */
import { Effect, FileSystem, Redacted, Stream } from "effect"
import * as CliError from "effect/cli/CliError"
import * as FileFault from "../../services/fetch/FileFault.ts"
import * as Redact from "../../services/fetch/Redact.ts"
import * as SystemFault from "../terminal/SystemFault.ts"
import type { Body } from "./Inputs.ts"

/** Longest file that is read for a flag, in bytes: a body is stored with each URL. */
const fileMaxBytes = 1024 * 1024

const wrong = (option: string, value: string, expected: string) =>
  new CliError.InvalidValue({ option, value, expected, kind: "flag" })

const decoder = new TextDecoder("utf-8", { fatal: true })

/** The text of a file that a flag names. */
const textOf = Effect.fnUntraced(function*(option: string, given: string) {
  const files = yield* FileSystem.FileSystem
  const chunks = yield* Stream.runCollect(files.stream(given.slice(1), { bytesToRead: fileMaxBytes + 1 })).pipe(
    Effect.mapError((error) =>
      wrong(
        option,
        given,
        error.reason._tag === "NotFound"
          ? "a file that is there"
          : `a file that can be read: ${FileFault.inWords(SystemFault.platformCodeOf(error))}`
      )
    )
  )
  const bytes = Buffer.concat(chunks)
  if (bytes.length > fileMaxBytes) return yield* wrong(option, given, `a file of ${fileMaxBytes} bytes at most`)
  return yield* Effect.try({
    try: () => decoder.decode(bytes),
    catch: () => wrong(option, given, "a file in UTF-8")
  })
})

const headerLine = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*)$/

const header = (text: string, of: string) => {
  const [, name, value] = headerLine.exec(text) ?? []
  return name === undefined || value === undefined
    ? Effect.fail(wrong("header", of, "a name and a value, such as 'Accept: text/html'"))
    : Effect.succeed([name.toLowerCase(), value.trim()] as const)
}

/** Headers by lower-case name: the one that is given, or a line each of the file; blank lines and those that begin with `#` are none. */
export const headers = Effect.fnUntraced(function*(given: string) {
  if (!given.startsWith("@")) return [yield* header(given, given)]
  const lines = (yield* textOf("header", given)).split(/\r?\n/)
  return yield* Effect.forEach(
    lines.flatMap((line, at) => line.trim() === "" || line.startsWith("#") ? [] : [[line, at + 1] as const]),
    ([line, number]) => header(line.trim(), `${given} (its line ${number})`)
  )
})

/** What a body is that nothing else is said of (as curl has it). */
const formType = "application/x-www-form-urlencoded"

/** The body that is given, or the file's. */
export const data = (given: string) =>
  Effect.map(
    given.startsWith("@") ? textOf("data", given) : Effect.succeed(given),
    (text): Body => ({ text, contentType: formType })
  )

/** The `Authorization` of a user and password (RFC 7617). */
export const basicAuth = (user: Redacted.Redacted) => {
  const plain = Redacted.value(user)
  return plain.includes(":")
    ? Effect.succeed(Redacted.make(`Basic ${Buffer.from(plain).toString("base64")}`))
    : Effect.fail(wrong("user", Redact.mark, "a name, a colon and a password"))
}
