/**
 * The name this program was called by: what hints print, so that they can be pasted.
 */
import { Context } from "effect"

/** `sluice` where it is installed, `./sluice` or `npm start -s --` in a checkout. Default: `sluice`. */
export const CalledAs: Context.Reference<string> = Context.Reference("sluice/programs/terminal/CalledAs", {
  defaultValue: () => "sluice"
})

const quoted = (path: string): string =>
  /^[\w./@%+:,=~-]+$/.test(path) ? path : `'${path.replaceAll("'", String.raw`'\''`)}'`

/**
 * The name by what the environment tells: the launcher of a checkout gives its own path as `SLUICE_CALLED_AS`, npm names what it
 * runs.
 */
export const calledBy = (env: Readonly<Record<string, string | undefined>>): string => {
  const launcher = env["SLUICE_CALLED_AS"]
  if (launcher !== undefined && launcher !== "") return quoted(launcher)
  const script = env["npm_lifecycle_event"]
  if (script === undefined) return "sluice"
  // Our own checkout: its tests run the program by its name.
  if (env["npm_package_name"] === "sluice") return script === "start" ? "npm start -s --" : "sluice"
  return "npx sluice"
}

/** A text of the house, whose commands stand in backticks under the name `sluice`, as its reader would type them. */
export const typed = (text: string, calledAs: string): string => text.replaceAll("`sluice", `\`${calledAs}`)
