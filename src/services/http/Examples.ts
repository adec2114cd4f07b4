/** The document's examples of requests: each can be sent as it is to a server with the shop of `sluice orders seed`. */

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

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const each = (value: unknown, f: (inner: unknown) => unknown): unknown =>
  isRecord(value) ? Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, f(inner)])) : value

const shown = (parameter: unknown, { parameters }: Example): unknown => {
  const example = isRecord(parameter) ? parameters[String(parameter["name"])] : undefined
  return example === undefined || !isRecord(parameter) ? parameter : { ...parameter, example }
}

const illustrated = (operation: unknown): unknown => {
  if (!isRecord(operation)) return operation
  const example = examples[String(operation["operationId"])]
  const body = operation["requestBody"]
  if (example === undefined || !isRecord(body)) return operation
  const parameters = Array.isArray(operation["parameters"]) ? operation["parameters"] : []
  return {
    ...operation,
    parameters: parameters.map((parameter) => shown(parameter, example)),
    requestBody: {
      ...body,
      content: each(body["content"], (media) => isRecord(media) ? { ...media, example: example.body } : media)
    }
  }
}

/** The OpenAPI document with the examples in it. */
export const illustrate = (spec: Record<string, unknown>): Record<string, unknown> => ({
  ...spec,
  paths: each(spec["paths"], (item) => each(item, illustrated))
})
