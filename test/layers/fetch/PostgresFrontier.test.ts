import * as PgClient from "@effect/sql-pg/PgClient"
import { Effect, Layer } from "effect"
import * as FrontierStatements from "../../../src/layers/fetch/FrontierStatements.ts"
import * as PostgresFrontier from "../../../src/layers/fetch/PostgresFrontier.ts"
import { frontierSuite } from "../../conformance/Frontier.suite.ts"
import * as TestDatabase from "../../support/TestDatabase.ts"

frontierSuite("PostgresFrontier", {
  layer: Layer.provideMerge(PostgresFrontier.layer, TestDatabase.layer),
  crash: Effect.fnUntraced(function*(name) {
    const sql = yield* PgClient.PgClient
    const statements = FrontierStatements.make(sql)
    const members = yield* sql<
      { readonly run: number; readonly id: number }
    >`select run_id as run, id from sluice.fetch_member
      where run_id = (select id from sluice.fetch_run where name = ${name})`
    const [first] = members
    if (first === undefined) return
    const ids = members.map(({ id }) => id)
    // What another process does when their heartbeats have stopped.
    yield* sql.withTransaction(Effect.gen(function*() {
      yield* statements.lockRun(first.run)
      yield* statements.leave(first.run, ids)
      yield* statements.orphan(first.run, ids)
    }))
  }, Effect.orDie)
})
