/** Ids of orders and transfers. */
import { Schema } from "effect"

const pattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/u

/** Whether a text can be such an id: what hot paths look at. */
export const isUuid = (text: string): boolean => pattern.test(text)

const uuid = Schema.String.check(
  Schema.isPattern(pattern, { expected: "a UUID in lower case", toJsonSchema: () => [{ format: "uuid" }, true] })
)

/** The id of an order: a UUID, version 7, so that ids ascend with time. */
export const OrderId = uuid

/** The id of a transfer: a UUID, version 7. */
export const TransferId = uuid
