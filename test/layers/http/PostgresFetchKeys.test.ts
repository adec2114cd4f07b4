import { Effect } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { claimSeconds } from "../../../src/services/http/FetchKeys.ts"
import { suite } from "../../conformance/FetchKeys.suite.ts"
import { app } from "../../support/orders.ts"

suite("Postgres", app, (key) =>
  Effect.flatMap(SqlClient.SqlClient, (sql) =>
    Effect.asVoid(sql`
      update sluice.fetch_key set claimed_until = claimed_until - make_interval(secs => ${claimSeconds}) where key = ${key}`)))
