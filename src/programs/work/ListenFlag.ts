import * as Flag from "effect/cli/Flag"

/** `--no-listen`, for connections through a transaction pooler. */
export const listen = Flag.Boolean("listen").pipe(
  Flag.withDescription("Wake workers by LISTEN; --no-listen polls instead, as a pooler such as PgBouncer needs it"),
  Flag.withDefault(true)
)
