import { Layer } from "effect"
import * as PostgresCatalog from "../../../src/layers/orders/PostgresCatalog.ts"
import * as PostgresLedger from "../../../src/layers/orders/PostgresLedger.ts"
import { suite } from "../../conformance/Catalog.suite.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

suite("Postgres", Layer.merge(PostgresCatalog.layer, PostgresLedger.layer).pipe(Layer.provide(TestDatabase.layer)))
