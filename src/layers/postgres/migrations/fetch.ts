/** The schema of the fetch wing. */
import { step as frontier } from "./fetch/0001_frontier.ts"
import { step as hosts } from "./fetch/0002_hosts.ts"
import { step as keys } from "./fetch/0003_keys.ts"

export const fetch = { name: "fetch", steps: { "1_frontier": frontier, "2_hosts": hosts, "3_keys": keys } }
