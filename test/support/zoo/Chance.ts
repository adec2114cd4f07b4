/** Chance that can be had again: the same seed, the same draws (splitmix32). */
export interface Chance {
  /** In [0, 1). */
  readonly next: () => number
  /** From 0 to `below` - 1. */
  readonly int: (below: number) => number
  readonly of: <A>(values: ReadonlyArray<A>) => A
  /** True so many times in a hundred. */
  readonly percent: (share: number) => boolean
  readonly bytes: (length: number) => Buffer
}

export const make = (seed: number): Chance => {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x9e3779b9) >>> 0
    let mixed = state ^ (state >>> 16)
    mixed = Math.imul(mixed, 0x21f0aaad)
    mixed ^= mixed >>> 15
    mixed = Math.imul(mixed, 0x735a2d97)
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32
  }
  const int = (below: number) => Math.floor(next() * below)
  return {
    next,
    int,
    of: <A>(values: ReadonlyArray<A>) => values[int(values.length)] as A,
    percent: (share) => next() * 100 < share,
    bytes: (length) => Buffer.from(Array.from({ length }, () => int(256)))
  }
}
