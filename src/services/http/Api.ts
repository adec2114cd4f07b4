/** The API: one description for the server, its document and its clients. */
import * as HttpApi from "effect/http-api/HttpApi"
import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import * as HttpApiSecurity from "effect/http-api/HttpApiSecurity"
import * as OpenApi from "effect/http-api/OpenApi"
import * as ApiDocument from "./ApiDocument.ts"
import * as CatalogGroup from "./CatalogGroup.ts"
import * as FetchesGroup from "./FetchesGroup.ts"
import * as LedgerGroup from "./LedgerGroup.ts"
import * as OperateGroup from "./OperateGroup.ts"
import * as OrdersGroup from "./OrdersGroup.ts"
import * as Problem from "./Problem.ts"

const about = OpenApi.annotations({
  title: "Sluice",
  version: "1",
  license: { name: "MIT", url: "https://opensource.org/license/mit" },
  description:
    "Orders that are accepted durably, paid and shipped exactly once, and found fast. Amounts are minor units (cents) as decimal strings. " +
    "Every error is a problem document (RFC 9457) whose type is an address of this server."
})

/**
 * Says in the document that every `/v1` route takes a bearer token. The server asks for it in its gate, before it looks for a route: so no
 * route, and no spelling of one, can be added without it.
 */
class BearerToken extends HttpApiMiddleware.Service<BearerToken>()("sluice/services/http/Api/BearerToken", {
  security: {
    bearer: HttpApiSecurity.bearer.pipe(HttpApiSecurity.annotate(
      OpenApi.Description,
      "SLUICE_API_TOKEN; without it the server answers programs of its own machine only."
    ))
  }
}) {}

/** What the document and clients know. */
export const Api = HttpApi.make("sluice")
  .add(OrdersGroup.group, LedgerGroup.group, CatalogGroup.group, FetchesGroup.group, OperateGroup.group)
  .middleware(BearerToken)
  .annotateMerge(about)
  .annotate(OpenApi.Transform, ApiDocument.tidied(new Map(Problem.docs.map(({ title, type }) => [type, title]))))

/** What HttpApiBuilder serves; the rest of {@link Api} is routed by hand. */
export const ServedApi = HttpApi.make("sluice")
  .add(OrdersGroup.served, LedgerGroup.group, CatalogGroup.group, FetchesGroup.group, OperateGroup.group)
