import { Option } from "effect"

/** The options that were given, without the others. */
export const given = <A extends Record<string, Option.Option<unknown>>>(
  options: A
): { [K in keyof A]?: Option.Option.Value<A[K]> } => {
  const out: { [K in keyof A]?: Option.Option.Value<A[K]> } = {}
  for (const key of Object.keys(options) as ReadonlyArray<keyof A>) {
    const value = options[key]
    // Each value is its own key's: a loop over keys cannot say so.
    if (value !== undefined && Option.isSome(value)) out[key] = value.value as Option.Option.Value<A[typeof key]>
  }
  return out
}
