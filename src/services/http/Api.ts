/** The API: one description for the server, its document and its clients. */
import * as HttpApi from "effect/http-api/HttpApi"
import * as OpenApi from "effect/http-api/OpenApi"
import * as CatalogGroup from "./CatalogGroup.ts"
import * as Examples from "./Examples.ts"
import * as FetchesGroup from "./FetchesGroup.ts"
import * as LedgerGroup from "./LedgerGroup.ts"
import * as OperateGroup from "./OperateGroup.ts"
import * as OrdersGroup from "./OrdersGroup.ts"

const about = OpenApi.annotations({
  title: "Sluice",
  version: "1",
  description:
    "Orders that are accepted durably, paid and shipped exactly once, and found fast. Amounts are minor units (cents) as decimal strings. " +
    "Every error is a problem document (RFC 9457) whose type is an address of this server."
})

/** Says in the document that every `/v1` route takes a bearer token when the server has one. */
const withBearer = (spec: Record<string, unknown>): Record<string, unknown> => {
  const security = [{ bearer: [] }]
  const schemes = {
    bearer: {
      type: "http",
      scheme: "bearer",
      description: "SLUICE_API_TOKEN; without it the server answers programs of its own machine only."
    }
  }
  const paths = mapRecord(
    spec["paths"],
    (item) => mapRecord(item, (operation) => isRecord(operation) ? { ...operation, security } : operation)
  )
  const components = { ...(isRecord(spec["components"]) ? spec["components"] : {}), securitySchemes: schemes }
  return { ...spec, paths, components, security }
}

const mapRecord = (value: unknown, f: (inner: unknown) => unknown): unknown =>
  isRecord(value) ? Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, f(inner)])) : value

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null

/** What the document and clients know. */
export const Api = HttpApi.make("sluice").add(
  OrdersGroup.group,
  LedgerGroup.group,
  CatalogGroup.group,
  FetchesGroup.group,
  OperateGroup.group
).annotateMerge(
  about
)
  .annotate(OpenApi.Transform, (spec) => Examples.illustrate(withBearer(spec)))

/** What HttpApiBuilder serves; the rest of {@link Api} is routed by hand. */
export const ServedApi = HttpApi.make("sluice").add(
  OrdersGroup.served,
  LedgerGroup.group,
  CatalogGroup.group,
  FetchesGroup.group,
  OperateGroup.group
)
