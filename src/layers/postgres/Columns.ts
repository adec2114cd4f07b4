/**
 * Columns of a batch as array parameters of a known type, for `unnest`: a list of nulls or an empty one says nothing
 * about its type by itself.
 */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import { Result } from "effect"

const column = (oid: number) => (values: ReadonlyArray<unknown>): PgTypes.Parameter =>
  // The element types below all have arrays.
  Result.getOrThrow(PgTypes.array(values, oid))

/** `text[]` */
export const texts: (values: ReadonlyArray<string | null>) => PgTypes.Parameter = column(PgTypes.OID.text)
/** `uuid[]` */
export const uuids: (values: ReadonlyArray<string>) => PgTypes.Parameter = column(PgTypes.OID.uuid)
/** `bigint[]` */
export const bigints: (values: ReadonlyArray<bigint>) => PgTypes.Parameter = column(PgTypes.OID.int8)
/** `integer[]` */
export const ints: (values: ReadonlyArray<number | null>) => PgTypes.Parameter = column(PgTypes.OID.int4)
/** `smallint[]` */
export const smallints: (values: ReadonlyArray<number | null>) => PgTypes.Parameter = column(PgTypes.OID.int2)
/** `double precision[]` */
export const floats: (values: ReadonlyArray<number | null>) => PgTypes.Parameter = column(PgTypes.OID.float8)
/** `boolean[]` */
export const booleans: (values: ReadonlyArray<boolean>) => PgTypes.Parameter = column(PgTypes.OID.bool)
/** `bytea[]` */
export const byteas: (values: ReadonlyArray<Uint8Array>) => PgTypes.Parameter = column(PgTypes.OID.bytea)
/** `timestamptz[]`; numbers are Unix milliseconds */
export const times: (values: ReadonlyArray<Date | number | null>) => PgTypes.Parameter = column(PgTypes.OID.timestamptz)
