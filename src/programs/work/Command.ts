/** `sluice work`: workers only, any number of processes on any number of machines. */
import { Option, Schema } from "effect"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as PostgresJobQueue from "../../layers/jobs/PostgresJobQueue.ts"
import { type Crew, work as workOf } from "./Crews.ts"
import { listen } from "./ListenFlag.ts"

const flags = {
  concurrency: Flag.Int("concurrency").pipe(
    Flag.withAlias("c"),
    Flag.withMetavar("N"),
    Flag.withDescription("Handlers at the same time, in each crew: 1 to 10000"),
    Flag.withSchema(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 10_000 }))),
    Flag.optional
  ),
  only: Flag.String("only").pipe(
    Flag.withMetavar("CREW"),
    Flag.withDescription("Run this crew only; give it again for more"),
    Flag.atLeast(0)
  ),
  listen
}

/** The command with these crews; what they need, and the database, is the entrypoint's to provide. */
export const work = <R>(crews: ReadonlyArray<Crew<R>>) =>
  Command.make("work", flags, ({ concurrency, only }) =>
    workOf(
      crews.filter((crew) => only.length === 0 || only.includes(crew.name)),
      { concurrency: Option.getOrUndefined(concurrency) }
    )).pipe(
      Command.withDescription("Run jobs until told to stop. SIGTERM drains: what has not ended is given back"),
      Command.provide(({ listen }) => PostgresJobQueue.layerWith({ listen }))
    )
