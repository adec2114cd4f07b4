/** `sluice work`: workers only, any number of processes on any number of machines. */
import { Effect, Option, Schema } from "effect"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as HeapPace from "../process/HeapPace.ts"
import * as Logging from "../process/Logging.ts"
import * as Place from "../process/Place.ts"
import { given } from "../terminal/Given.ts"
import * as Crews from "./Crews.ts"
import { listen } from "./ListenFlag.ts"

const flags = {
  concurrency: Flag.Int("concurrency").pipe(
    Flag.withAlias("c"),
    Flag.withMetavar("N"),
    Flag.withDescription("Handlers at the same time, in each crew: 1 to 10000"),
    Flag.withSchema(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 10_000 }))),
    Flag.optional
  ),
  only: Flag.Literals("only", Crews.names).pipe(
    Flag.withMetavar("CREW"),
    Flag.withDescription("Run this crew only; give it again for more"),
    Flag.atLeast(0)
  ),
  listen
}

/** `sluice work`. Works until the program is told to stop; a drain is a step of the current shutdown. */
export const work = Command.make("work", flags, ({ concurrency, only }) =>
  Effect.scoped(Effect.gen(function*() {
    const crews = only.length === 0 ? Crews.names : Crews.names.filter((name) => only.includes(name))
    yield* HeapPace.relaxed
    yield* Crews.start(Object.fromEntries(crews.map((name) => [name, given({ concurrency })])))
    const { connections, database } = yield* Place.here
    const atATime = Option.match(concurrency, { onNone: () => "", onSome: (most) => `, ${most} at a time in each` })
    yield* Logging.announce(
      [`working: ${crews.join(", ")}${atATime}; database ${database}, pool of ${connections}`],
      { crews: crews.join(" "), concurrency: Option.getOrNull(concurrency), database, connections }
    )
    return yield* Effect.never
  }))).pipe(
    Command.withDescription("Run jobs until told to stop. SIGTERM drains: what has not ended is given back")
  )
