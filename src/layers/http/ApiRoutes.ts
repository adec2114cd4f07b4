/** The whole API on a router: routes, gate, health, documents. */
import { type FileSystem, Layer, type Path } from "effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import type * as Etag from "effect/http/Etag"
import type * as HttpPlatform from "effect/http/HttpPlatform"
import type * as HttpRouter from "effect/http/HttpRouter"
import type { Frontier } from "../../services/fetch/Frontier.ts"
import { ServedApi } from "../../services/http/Api.ts"
import type { ApiSettings } from "../../services/http/ApiSettings.ts"
import type { FetchKeys } from "../../services/http/FetchKeys.ts"
import type { Readiness } from "../../services/http/Readiness.ts"
import type { JobAdmin } from "../../services/jobs/JobAdmin.ts"
import type { JobQueue } from "../../services/jobs/JobQueue.ts"
import type { Catalog } from "../../services/orders/Catalog.ts"
import type { Ledger } from "../../services/orders/Ledger.ts"
import type { Orders } from "../../services/orders/Orders.ts"
import * as CatalogHandlers from "./CatalogHandlers.ts"
import * as DocsPage from "./docs/DocsPage.ts"
import * as FetchHandlers from "./FetchHandlers.ts"
import * as Gate from "./Gate.ts"
import * as Health from "./Health.ts"
import * as LedgerHandlers from "./LedgerHandlers.ts"
import * as NodeLongConnections from "./NodeLongConnections.ts"
import * as OperateHandlers from "./OperateHandlers.ts"
import * as OrderHandlers from "./OrderHandlers.ts"

/** What the API is made of. */
export type Services = Frontier | FetchKeys | Orders | Ledger | Catalog | JobQueue | JobAdmin | Readiness | ApiSettings

/** Every route. Serve it with `HttpRouter.serve`. */
export const layer: Layer.Layer<
  never,
  never,
  Services | HttpRouter.HttpRouter | Etag.Generator | FileSystem.FileSystem | HttpPlatform.HttpPlatform | Path.Path
> = Layer.mergeAll(
  Gate.layer,
  Health.layer,
  DocsPage.layer,
  HttpApiBuilder.layer(ServedApi).pipe(
    Layer.provide([
      OrderHandlers.layer,
      LedgerHandlers.layer,
      CatalogHandlers.layer,
      FetchHandlers.layer,
      OperateHandlers.layer
    ]),
    Layer.provide(NodeLongConnections.layer)
  )
)
