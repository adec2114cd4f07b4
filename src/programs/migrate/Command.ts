/**
 * `sluice migrate`: creates or upgrades the schema. The embedded database does it by itself.
 */
import { Console, Effect } from "effect"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Database from "../../layers/postgres/Database.ts"
import * as Migrations from "../../layers/postgres/Migrations.ts"

const flags = {
  only: Flag.Literals("only", Migrations.trackNames).pipe(
    Flag.withMetavar("TRACK"),
    Flag.withDescription(
      "Only the tables of this track and of those that it needs (orders needs jobs); give it again for more"
    ),
    Flag.atLeast(0)
  )
}

/** `sluice migrate`. Needs a database that was opened whatever its schema is. */
export const migrate = Command.make("migrate", flags, ({ only }) =>
  Effect.gen(function*() {
    const { where } = yield* Database.Database
    const applied = yield* Database.migrate(only.length === 0 ? undefined : only)
    yield* Console.log(
      applied.length === 0 ? `${where}: the schema is up to date` : `${where}: applied ${applied.join(", ")}`
    )
  })).pipe(
    Command.withDescription("Create or upgrade the schema of the database that DATABASE_URL names"),
    Command.withExamples([
      { command: "sluice migrate", description: "Everything" },
      { command: "sluice migrate --only jobs", description: "For a program of one's own that only has jobs" }
    ])
  )
