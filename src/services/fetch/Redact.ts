/**
 * URLs without their secrets: what goes into outcomes, errors and logs. Passwords, and query parameters that are named like secrets.
 */

const secretNames =
  /^(?:access[-_]?token|api[-_]?key|apikey|auth|auth[-_]?token|client[-_]?secret|code[-_]?verifier|credentials?|id[-_]?token|jwt|key|pass|passwd|password|private[-_]?key|pwd|refresh[-_]?token|secret|session[-_]?(?:id|token)|sig|signature|token|x-amz-(?:credential|security-token|signature)|x-goog-(?:credential|signature))$/i

const userinfo = /^([a-z][a-z0-9+.-]*:\/\/)([^/?#@]*)@/i

const parameter = /([?&;])([^=&;#]+)=([^&;#]*)/g

/** What stands in a secret's place. */
export const mark = "REDACTED"

/** The URL with its secrets replaced; the same string when it has none. */
export const url = (text: string): string => {
  let shown = text
  if (shown.includes("@")) shown = shown.replace(userinfo, (_, scheme: string) => `${scheme}${mark}@`)
  if (shown.includes("?")) {
    shown = shown.replace(
      parameter,
      (all, lead: string, name: string) => secretNames.test(name) ? `${lead}${name}=${mark}` : all
    )
  }
  return shown
}
