/**
 * The name this program was called by: what hints print, so that they can be pasted.
 */
import { Context } from "effect"

/** `sluice` where it is installed, `./sluice` or `npm start -s --` in a checkout. Default: `sluice`. */
export const CalledAs: Context.Reference<string> = Context.Reference("sluice/programs/terminal/CalledAs", {
  defaultValue: () => "sluice"
})
