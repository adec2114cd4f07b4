/** Jobs and fetching for plain JavaScript and promises: `sluice/promise`. */
export type * from "../programs/promise/Face.ts"
export { Discard, SluiceClosed, Snooze } from "../programs/promise/Failures.ts"
export { open } from "../programs/promise/Open.ts"
