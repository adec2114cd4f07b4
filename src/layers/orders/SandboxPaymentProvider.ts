import { Effect, Layer } from "effect"
import { type ChargeAnswer, PaymentProvider } from "../../services/orders/PaymentProvider.ts"

/**
 * A payment provider that moves no money, for trying things out and for `sluice serve` until a real one is provided. It charges everybody
 * but customers whose id begins with `declined`. It decides from the request alone, so every process and every try gets the same answer, as
 * a real provider gives for the same key.
 */
export const layer: Layer.Layer<PaymentProvider> = Layer.succeed(
  PaymentProvider,
  PaymentProvider.of({
    charge: ({ customerId }) =>
      Effect.succeed<ChargeAnswer>(customerId.startsWith("declined") ? "declined" : "charged"),
    // It keeps nothing: asking again is the way to know.
    find: () => Effect.undefined
  })
)
