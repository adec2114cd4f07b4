/** A payment provider for tests that does on purpose what real ones do by accident. */
import { Context, Effect, Layer } from "effect"
import {
  type ChargeAnswer,
  type ChargeRequest,
  PaymentProvider,
  PaymentUnavailable
} from "../../services/orders/PaymentProvider.ts"

/** What the next try of a charge meets. After its script, a customer is charged. */
export type Behaviour =
  /** Charges and answers. */
  | "charge"
  /** Declines and answers. */
  | "decline"
  /** Fails before it has charged. */
  | "fail"
  /** Never answers, and does not charge. */
  | "hang"
  /** Charges, and then fails before it answers: the charge is real, the answer is lost. */
  | "dieAfterCharging"
  /** Charges, and then never answers. */
  | "hangAfterCharging"

/** The other side of the test provider. */
export class PaymentScript extends Context.Service<PaymentScript, {
  /** What the next tries to charge this customer meet, in order. */
  readonly script: (customerId: string, behaviours: ReadonlyArray<Behaviour>) => Effect.Effect<void>
  /** What was charged, by key: what the customer's bank would show. */
  readonly charges: Effect.Effect<ReadonlyMap<string, bigint>>
  /** How often `charge` was called for a key. */
  readonly calls: (key: string) => Effect.Effect<number>
}>()("sluice/layers/orders/TestPaymentProvider/PaymentScript") {}

const make = Effect.sync(() => {
  const scripts = new Map<string, Array<Behaviour>>()
  const answers = new Map<string, ChargeAnswer>()
  const charged = new Map<string, bigint>()
  const calls = new Map<string, number>()

  const settle = (request: ChargeRequest, answer: ChargeAnswer): ChargeAnswer => {
    const known = answers.get(request.key)
    if (known !== undefined) return known
    answers.set(request.key, answer)
    if (answer === "charged") charged.set(request.key, request.amount)
    return answer
  }

  const unavailable = (key: string, problem: string) => Effect.fail(new PaymentUnavailable({ key, problem }))

  const charge = (request: ChargeRequest): Effect.Effect<ChargeAnswer, PaymentUnavailable> =>
    Effect.suspend(() => {
      calls.set(request.key, (calls.get(request.key) ?? 0) + 1)
      const behaviour = scripts.get(request.customerId)?.shift() ?? "charge"
      if (behaviour === "fail") return unavailable(request.key, "503")
      if (behaviour === "hang") return Effect.never
      const answer = settle(request, behaviour === "decline" ? "declined" : "charged")
      if (behaviour === "dieAfterCharging") return unavailable(request.key, "connection reset")
      return behaviour === "hangAfterCharging" ? Effect.never : Effect.succeed(answer)
    })

  return Context.make(
    PaymentProvider,
    PaymentProvider.of({ charge, find: (key) => Effect.sync(() => answers.get(key)) })
  ).pipe(
    Context.add(
      PaymentScript,
      PaymentScript.of({
        script: (customerId, behaviours) => Effect.sync(() => void scripts.set(customerId, [...behaviours])),
        charges: Effect.sync(() => new Map(charged)),
        calls: (key) => Effect.sync(() => calls.get(key) ?? 0)
      })
    )
  )
})

/** The provider and its script. */
export const layerTest: Layer.Layer<PaymentProvider | PaymentScript> = Layer.effectContext(make)
