/** The schema of the fetch wing. */
import { step as frontier } from "./fetch/0001_frontier.ts"

export const fetch = { name: "fetch", steps: { "1_frontier": frontier } }
