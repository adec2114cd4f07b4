/** Ids of orders and transfers. */
import { Schema } from "effect"

const uuid = Schema.String.check(
  Schema.isPattern(/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/u, {
    expected: "a UUID in lower case"
  })
)

/** The id of an order: a UUID, version 7, so that ids ascend with time. */
export const OrderId = uuid

/** The id of a transfer: a UUID, version 7. */
export const TransferId = uuid
