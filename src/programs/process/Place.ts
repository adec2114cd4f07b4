/** Where a program works, for its first line: a secret that is missing is to be seen there. */
import { Effect } from "effect"
import * as Database from "../../layers/postgres/Database.ts"

/** The database by its address, without its password, and how many connections this process may have to it. */
export const here = Effect.map(Database.Database, ({ connectionsMax, isEmbedded, where }) => ({
  database: isEmbedded ? `${where} (embedded)` : where,
  connections: connectionsMax
}))
