/** A step of the schema: a `.sql` file beside this one. */
import { Effect } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { readFileSync } from "node:fs"

/** Runs a file, `jobs/0001_tables`, as one statement: the protocol takes no more than one at a time. */
export const ofFile = (name: string): Effect.Effect<void, SqlError, SqlClient.SqlClient> =>
  Effect.flatMap(SqlClient.SqlClient, (sql) => {
    // Part of the package: a missing file is a defect of the build.
    const text = readFileSync(new URL(`${name}.sql`, import.meta.url), "utf8")
    return Effect.asVoid(sql.unsafe(`do $step$ begin\n${text}\nend $step$`))
  })
