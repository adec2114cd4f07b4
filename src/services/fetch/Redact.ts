/**
 * URLs without their secrets: what goes into outcomes, errors and logs. Passwords, and parameters of the query or the fragment that are
 * named like secrets, as the URL parser finds them and not as they happen to be spelt.
 */
import { Result } from "effect"

/** What stands in a secret's place. */
export const mark = "REDACTED"

/** Parameters that are secret, in lower case, without `-`, `_`, `.` and a leading `x` or vendor. */
const secretNames = new Set(
  (
    "accesskey accesstoken apikey apisecret apitoken assertion auth authkey authorization authtoken bearer bearertoken clientassertion " +
    "clientsecret codeverifier credential credentials csrftoken idtoken jwt key pass passphrase passwd password privatekey pwd refreshtoken " +
    "secret secretkey securitytoken sessionid sessiontoken sharedaccesssignature sid sig signature subscriptionkey token usertoken"
  ).split(" ")
)

/** `X-Amz-`, `x-goog-`, `x-ms-` and a bare `x-`. */
const vendor = /^(?:x(?=[-_.])[-_.])?(?:amz|goog|google|ms|oss|cos)?[-_.]?/

/** As deep as a URL is looked for inside a parameter of a URL. */
const depthMax = 3

const decode = (text: string): string =>
  Result.getOrElse(Result.try(() => decodeURIComponent(text.replaceAll("+", " "))), () => text)

/** Whether a parameter of that name, as written, holds a secret: `x-api-key`, `ACCESS%5FTOKEN`, `user[password]`. */
const isSecret = (written: string): boolean => {
  const whole = decode(written).trim().toLowerCase()
  const name = /\[([^[\]]+)\]$/.exec(whole)?.[1] ?? whole
  const plain = (text: string) => text.replaceAll(/[-_.\s]/g, "")
  return secretNames.has(plain(name)) || secretNames.has(plain(name.replace(vendor, "")))
}

/** The parser drops them wherever they stand. */
const dropped = /[\t\n\r]+/

/** A query or fragment: names end at the first `=`, parameters at `&`, `;`, `?` or `#`. */
const parameter = /([?&;#]?)([^?&;#=]+)=([^&;#]*)/g

/** What may be a URL, and not just an address of mail. */
const urlLike = /^[a-z][a-z0-9+.-]*:|[\\/]/i

const withoutParameters = (text: string, depth: number): string =>
  text.replace(parameter, (all, lead: string, name: string, value: string) => {
    if (isSecret(name)) return `${lead}${name}=${mark}`
    if (depth === depthMax || !/[%?#@]/.test(value)) return all
    // A URL as a parameter of another, as logins and proxies have it.
    const inner = decode(value)
    return !urlLike.test(inner) || redacted(inner, depth + 1) === inner ? all : `${lead}${name}=${mark}`
  })

/** Up to the last `@`, when it may stand before the host; without a scheme, or when the parser makes nothing of it. */
const unparsed = /^([a-z][a-z0-9+.-]*:)?([\\/]*).*@/is

/** What stands before the query: there alone a user and a password can be. */
const withoutUser = (text: string): string => {
  const url = URL.parse(text)
  if (url !== null && url.host !== "") {
    if (url.username === "" && url.password === "") return text
    url.username = mark
    url.password = ""
    return url.href
  }
  // A path, which has no user.
  if (/^[\\/](?![\\/])/.test(text)) return text
  return text.replace(unparsed, (_, scheme: string | undefined, slashes: string) => `${scheme ?? ""}${slashes}${mark}@`)
}

const redacted = (text: string, depth: number): string => {
  const clean = text.split(dropped).join("")
  const user = clean.includes("@") ? withoutUser(clean) : clean
  const start = user.search(/[?#]/)
  const shown = start === -1 ? user : user.slice(0, start) + withoutParameters(user.slice(start), depth)
  return shown === clean ? text : shown
}

/** The URL with its secrets replaced; the same string when it has none. A reference (`/path?query`) is a URL here too. */
export const url = (text: string): string => /[@=]/.test(text) ? redacted(text, 0) : text

/** The beginning of a URL, without its secrets: never cut before they are found. */
export const brief = (text: string, lengthMax: number): string => url(text).slice(0, lengthMax)
