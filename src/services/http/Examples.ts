/** The document's examples of requests: each can be sent as it is to a server with the shop of `sluice orders seed`. */
import { at, isObject, type JsonObject, list, mapValues, text } from "./JsonTree.ts"

/** One request. */
export interface Example {
  /** By name: what stands in the path, and the headers that are required. */
  readonly parameters: Readonly<Record<string, string>>
  readonly body: Readonly<Record<string, unknown>>
}

/** By the operation's id in the document; every operation that takes a body has one. */
export const examples: Readonly<Record<string, Example>> = {
  placeOrder: {
    parameters: { "idempotency-key": "order-1" },
    body: { customerId: "customer-1", items: [{ sku: "sku-4", quantity: 2 }], note: "the side door, please" }
  },
  openAccount: { parameters: { id: "alice" }, body: { currency: "EUR", allowNegative: false } },
  makeTransfer: {
    parameters: { "idempotency-key": "transfer-1" },
    body: { from: "customer-1", to: "customer-2", amount: "1250", currency: "EUR", reference: "half of the rent" }
  },
  putProduct: {
    parameters: { sku: "atlas" },
    body: { name: "Atlas of the World", price: "1250", currency: "EUR", seller: "merchant", isShipped: true }
  },
  adjustStock: {
    parameters: { sku: "sku-4", "idempotency-key": "delivery-1" },
    body: { units: 12 }
  },
  startFetch: {
    parameters: { "idempotency-key": "fetch-1" },
    body: { name: "winter", urls: ["https://example.com/", "https://example.org/"] }
  }
}

const shown = (parameter: unknown, { parameters }: Example): unknown => {
  const example = parameters[text(at(parameter, "name"))]
  return example === undefined || !isObject(parameter) ? parameter : { ...parameter, example }
}

/** An operation of the document with its example, if it has one. */
export const illustrated = (operation: JsonObject, example: Example | undefined): JsonObject => {
  if (example === undefined) return operation
  const parameters = list(operation["parameters"]).map((parameter) => shown(parameter, example))
  const requestBody = mapValues(
    operation["requestBody"],
    (part) => mapValues(part, (media) => isObject(media) ? { ...media, example: example.body } : media)
  )
  return { ...operation, parameters, requestBody }
}
