import { Clock, Effect, Layer } from "effect"
import type { RunSummary } from "../../services/fetch/Frontier.ts"
import { claimSeconds, FetchKeys } from "../../services/http/FetchKeys.ts"
import { KeyInFlight, KeyReused } from "../../services/orders/OrdersError.ts"

interface Entry {
  readonly fingerprint: string
  readonly run: string
  token: string
  claimedUntilMillis: number
  answer: RunSummary | undefined
}

const make = Effect.sync(() => {
  const entries = new Map<string, Entry>()
  /** The entry that this try holds. */
  const held = (key: string, token: string): Entry | undefined => {
    const entry = entries.get(key)
    return entry?.token === token && entry.answer === undefined ? entry : undefined
  }
  return FetchKeys.of({
    begin: Effect.fnUntraced(function*({ fingerprint, key, run, token }) {
      const now = yield* Clock.currentTimeMillis
      const claimedUntilMillis = now + claimSeconds * 1000
      const known = entries.get(key)
      if (known === undefined) {
        entries.set(key, { fingerprint, run, token, claimedUntilMillis, answer: undefined })
        return { _tag: "Claimed", claim: { key, run, token } } as const
      }
      if (known.fingerprint !== fingerprint) return yield* new KeyReused({ key })
      if (known.answer !== undefined) return { _tag: "Replayed", answer: known.answer } as const
      if (known.claimedUntilMillis > now) return yield* new KeyInFlight({ key })
      Object.assign(known, { token, claimedUntilMillis })
      return { _tag: "Claimed", claim: { key, run: known.run, token } } as const
    }),
    finish: ({ key, token }, answer) =>
      Effect.suspend(() => {
        const entry = held(key, token)
        if (entry === undefined) return Effect.fail(new KeyInFlight({ key }))
        entry.answer = answer
        return Effect.void
      }),
    release: ({ key, token }) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const entry = held(key, token)
        if (entry !== undefined) entry.claimedUntilMillis = now
      })
  })
})

/** The keys of fetch runs in memory: for libraries and tests. They stay for as long as the layer does. */
export const layer: Layer.Layer<FetchKeys> = Layer.effect(FetchKeys, make)
