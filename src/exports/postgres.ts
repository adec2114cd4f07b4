/** The database: the server that `DATABASE_URL` names, the embedded one or the app's own pool; its schema; what can be wrong with it. */
export * as Database from "../layers/postgres/Database.ts"
export * as DatabaseError from "../layers/postgres/DatabaseError.ts"
export * as EmbeddedFailure from "../layers/postgres/EmbeddedFailure.ts"
export * as EmbeddedPostgres from "../layers/postgres/EmbeddedPostgres.ts"
export * as Migrations from "../layers/postgres/Migrations.ts"
export * as OwnPool from "../layers/postgres/OwnPool.ts"
export * as Transaction from "../layers/postgres/Transaction.ts"
