/** A payment provider of another house: it outlives every process, is slow now and then, and may charge and lose its answer. */
import { Effect, Layer } from "effect"
import { type ChargeAnswer, PaymentProvider, PaymentUnavailable } from "../../../src/services/orders/PaymentProvider.ts"
import type { Process } from "../kernel/Process.ts"

/** Its own books, by the key that it was asked with: the same key is one charge. */
export type Charges = Map<string, { readonly answer: ChargeAnswer; readonly amount: bigint }>

/** The provider as a process reaches it. */
export const layer = ({ random }: Process, charges: Charges): Layer.Layer<PaymentProvider> => {
  const lost = (key: string) => Effect.fail(new PaymentUnavailable({ key, problem: "the answer is lost" }))
  const travel = Effect.suspend(() => Effect.sleep(random.float() * (random.chance(0.05) ? 15_000 : 200)))
  return Layer.succeed(
    PaymentProvider,
    PaymentProvider.of({
      find: (key) => Effect.andThen(travel, Effect.sync(() => charges.get(key)?.answer)),
      charge: ({ amount, key }) =>
        Effect.gen(function*() {
          yield* travel
          if (random.chance(0.1)) return yield* lost(key)
          const answer = charges.get(key)?.answer ?? (random.chance(0.1) ? "declined" : "charged")
          charges.set(key, { answer, amount })
          yield* travel
          return random.chance(0.1) ? yield* lost(key) : answer
        })
    })
  )
}
