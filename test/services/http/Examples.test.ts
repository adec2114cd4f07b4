/** The document's examples: each body that can be sent has one, its schema takes it, and what stands in the path fits too. */
import { assert, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import * as Addresses from "../../../src/layers/http/Addresses.ts"
import { Api } from "../../../src/services/http/Api.ts"
import { examples } from "../../../src/services/http/Examples.ts"

interface Parameter {
  readonly name: string
  readonly in: string
  readonly required: boolean
  readonly schema: { readonly pattern?: string; readonly format?: string; readonly maximum?: number }
  readonly example?: string
}

interface Operation {
  readonly parameters: ReadonlyArray<Parameter>
  readonly requestBody?: { readonly content: Record<string, { readonly example?: unknown }> }
}

/** As whoever reads it over HTTP has it. */
const document: { readonly paths: Record<string, Record<string, Operation>> } = JSON.parse(
  JSON.stringify(Addresses.document)
)

const endpoints = Object.values(Api.groups).flatMap((group) =>
  Object.values(group.endpoints).map((endpoint) => ({ id: endpoint.identifier, endpoint }))
)

const withBody = endpoints.filter(({ endpoint }) => endpoint.payload.size > 0)

it("every operation with a body has an example, and there is none without an operation", () => {
  assert.deepStrictEqual(Object.keys(examples).sort(), withBody.map(({ id }): string => id).sort())
})

for (const { endpoint, id } of withBody) {
  it(`the example of ${id} is what the document has, and its schema takes it`, () => {
    const path = endpoint.path.replaceAll(/:(\w+)/g, "{$1}")
    const operation = document.paths[path]?.[endpoint.method.toLowerCase()] ?? assert.fail(`no ${path}`)
    const media = operation.requestBody?.content["application/json"] ?? assert.fail("takes no JSON")
    assert.deepStrictEqual(media.example, examples[id]?.body)
    for (const { schemas } of endpoint.payload.values()) {
      for (const schema of schemas) {
        // An endpoint's erased type no longer says that its schemas need nothing.
        const decode = Schema.decodeUnknownResult(Schema.toCodecJson(schema as Schema.Codec<unknown>), {
          onExcessProperty: "error"
        })
        const decoded = decode(examples[id]?.body)
        assert.isTrue(Result.isSuccess(decoded), String(decoded))
      }
    }
    const given = new Set(Object.keys(examples[id]?.parameters ?? {}))
    for (const parameter of operation.parameters) {
      const { example } = parameter
      if (example !== undefined) given.delete(parameter.name)
      if (parameter.required) assert.isDefined(example, parameter.name)
      if (example !== undefined && parameter.schema.pattern !== undefined) {
        assert.match(example, new RegExp(parameter.schema.pattern, "u"))
      }
    }
    assert.deepStrictEqual([...given], [], "names of no parameter")
  })
}

it("ids and limits have their form in the document", () => {
  const parameters = Object.values(document.paths).flatMap((item) =>
    Object.values(item).flatMap((operation) => operation.parameters)
  )
  const shaped = parameters.filter(({ in: where, name }) =>
    where === "path" || name === "limit" || name === "customerId"
  )
  assert.isAbove(shaped.length, 15)
  for (const { name, schema } of shaped) {
    if (name === "limit") assert.strictEqual(schema.maximum, 200)
    else assert.isTrue(schema.pattern !== undefined || schema.format === "uuid", name)
  }
})
