/**
 * Functions of the schema `sluice`, called with their arguments by name: of two dozen arrays in a row, two that are swapped would not be
 * told apart.
 */
import type * as PgClient from "@effect/sql-pg/PgClient"
import type { Effect } from "effect"
import type { Connection } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"

/** By the names of the function's parameters. */
export type Arguments = Readonly<Record<string, unknown>>

const textOf = (name: string, args: Arguments): string =>
  `select * from sluice.${name}(${Object.keys(args).map((key, at) => `${key} => $${at + 1}`).join(", ")})`

/** Calls a function through a pool; gives back its rows. */
export const call = <Row extends object>(
  sql: PgClient.PgClient,
  name: string,
  args: Arguments
): Effect.Effect<ReadonlyArray<Row>, SqlError> => sql.unsafe<Row>(textOf(name, args), Object.values(args))

/** Calls a function on one session. */
export const callOn = <Row extends object>(
  connection: Connection,
  name: string,
  args: Arguments
): Effect.Effect<ReadonlyArray<Row>, SqlError> => connection.execute(textOf(name, args), Object.values(args), undefined)
