/**
 * `sluice migrate`: creates or upgrades the schema. The embedded database does it by itself.
 */
import { Console, Effect } from "effect"
import * as Command from "effect/cli/Command"
import * as Database from "../../layers/postgres/Database.ts"

/** `sluice migrate`. Needs a database that was opened whatever its schema is. */
export const migrate = Command.make("migrate", {}, () =>
  Effect.gen(function*() {
    const { where } = yield* Database.Database
    const applied = yield* Database.migrate
    yield* Console.log(
      applied.length === 0 ? `${where}: the schema is up to date` : `${where}: applied ${applied.join(", ")}`
    )
  })).pipe(
    Command.withDescription("Create or upgrade the schema of the database that DATABASE_URL names")
  )
