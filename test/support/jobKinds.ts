/** The kinds that the worker process of the tests handles. */
import { Schedule, Schema } from "effect"
import * as Job from "../../src/services/jobs/Job.ts"

const N = Schema.Struct({ n: Schema.Int })
const soon = Schedule.spaced("50 millis")

export const Effect1 = Job.make("test.effect", { payload: N, retry: soon, maxAttempts: 100 })
export const Freeze = Job.make("test.freeze", { payload: N, retry: soon, maxAttempts: 10 })
export const Ping = Job.make("test.ping", { payload: Schema.Struct({ sent: Schema.Finite }) })
export const Transfer = Job.make("test.transfer", {
  payload: Schema.Struct({ from: Schema.Int, to: Schema.Int, amount: Schema.Int }),
  retry: soon,
  maxAttempts: 1000
})

/** What `chaos` tests do to workers: one kind for each way in which a job is settled. */
const hardy = { payload: N, retry: soon, maxAttempts: 10_000, queue: "test.chaos" }
export const ChaosPlain = Job.make("test.chaos.plain", hardy)
export const ChaosLast = Job.make("test.chaos.last", hardy)
export const ChaosFirst = Job.make("test.chaos.first", hardy)
/** Jobs of four keys, whose effects are in the order of their numbers. */
export const ChaosKeyed = Job.make("test.chaos.keyed", { ...hardy, key: ({ n }) => `k${n % 4}` })
