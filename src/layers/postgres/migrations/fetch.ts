/** The schema of the fetch wing. */
import { step as frontier } from "./fetch/0001_frontier.ts"
import { step as hosts } from "./fetch/0002_hosts.ts"

export const fetch = { name: "fetch", steps: { "1_frontier": frontier, "2_hosts": hosts } }
