/** The jobs behind an order: settle (paid from an account, in batches), charge (paid by card) and ship. */
import { Schedule, Schema } from "effect"
import * as Job from "../jobs/Job.ts"
import { OrderId } from "./Ids.ts"

const Payload = Schema.Struct({
  orderId: OrderId,
  /** The id of the HTTP request that placed the order: one id from the request to the log of its jobs. */
  requestId: Schema.optionalKey(Schema.String)
})

/** What each job of an order carries. */
export type OrderJob = typeof Payload.Type

/** Soon after a conflict, then ever more slowly, so that an order outlives a database restart or a provider's bad hour. */
const retry = Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced("30 seconds")])

/** Pays an order from its customer's account. */
export const Settle = Job.make("orders.settle", {
  payload: Payload,
  retry,
  maxAttempts: 50,
  timeout: "30 seconds",
  history: "none"
})

/** Pays an order by card: pending transfer, call with the order's key, post or void. */
export const Charge = Job.make("orders.charge", { payload: Payload, retry, maxAttempts: 100, timeout: "30 seconds" })

/** Picks and ships a paid order. */
export const Ship = Job.make("orders.ship", {
  payload: Payload,
  retry,
  maxAttempts: 50,
  timeout: "5 minutes",
  history: "outcome"
})
