/** The document's examples of requests: each can be sent as it is to a server with the shop of `sluice orders seed`. */
import { at, isObject, list, mapValues, text } from "./JsonTree.ts"

/** One request. */
export interface Example {
  /** By name: what stands in the path, and the headers that are required. */
  readonly parameters: Readonly<Record<string, string>>
  readonly body: Readonly<Record<string, unknown>>
}

/** By the operation's id in the document; every operation that takes a body has one. */
export const examples: Readonly<Record<string, Example>> = {
  "orders.placeOrder": {
    parameters: { "idempotency-key": "order-1" },
    body: { customerId: "customer-1", items: [{ sku: "sku-4", quantity: 2 }], note: "the side door, please" }
  },
  "ledger.openAccount": { parameters: { id: "alice" }, body: { currency: "EUR", allowNegative: false } },
  "ledger.makeTransfer": {
    parameters: { "idempotency-key": "transfer-1" },
    body: { from: "customer-1", to: "customer-2", amount: "1250", currency: "EUR", reference: "half of the rent" }
  },
  "catalog.putProduct": {
    parameters: { sku: "atlas" },
    body: { name: "Atlas of the World", price: "1250", currency: "EUR", seller: "merchant", isShipped: true }
  },
  "catalog.adjustStock": {
    parameters: { sku: "sku-4", "idempotency-key": "delivery-1" },
    body: { units: 12 }
  },
  "fetches.startFetch": {
    parameters: { "idempotency-key": "fetch-1" },
    body: { name: "winter", urls: ["https://example.com/", "https://example.org/"] }
  }
}

const shown = (parameter: unknown, { parameters }: Example): unknown => {
  const example = parameters[text(at(parameter, "name"))]
  return example === undefined || !isObject(parameter) ? parameter : { ...parameter, example }
}

const illustrated = (operation: unknown): unknown => {
  const example = examples[text(at(operation, "operationId"))]
  if (example === undefined || !isObject(operation)) return operation
  const parameters = list(operation["parameters"]).map((parameter) => shown(parameter, example))
  const requestBody = mapValues(
    operation["requestBody"],
    (part) => mapValues(part, (media) => isObject(media) ? { ...media, example: example.body } : media)
  )
  return { ...operation, parameters, requestBody }
}

/** The OpenAPI document with the examples in it. */
export const illustrate = (spec: Record<string, unknown>): Record<string, unknown> => ({
  ...spec,
  paths: mapValues(spec["paths"], (item) => mapValues(item, illustrated))
})
